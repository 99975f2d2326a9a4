#include "lib/verify/packing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "lib/base/checked_math.h"
#include "lib/ir/named_weights.h"
#include "lib/sparse/decode_lines.h"
#include "lib/sparse/element_bits.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"
#include "lib/tensor/layout.h"
#include "lib/verify/weight_pairs.h"

namespace espalier {
namespace {

template <typename Bits>
bool equal_or_zero(const Tensor& a, const Tensor& b) {
  constexpr auto kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;
  const Tensor x = a.aligned(), y = b.aligned();
  return std::ranges::equal(x.data<Bits>(), y.data<Bits>(), [](Bits p, Bits q) {
    return p == q || ((p & kMagnitude) == 0 && (q & kMagnitude) == 0);
  });
}

// How many negative zeros became zeros among `count` elements; nothing where anything else differs.
template <typename Bits>
std::optional<size_t> lost_signs(const std::byte* decoded, const std::byte* wanted, size_t count) {
  constexpr auto kNegativeZero = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  if (std::memcmp(decoded, wanted, count * sizeof(Bits)) == 0) return 0;
  size_t lost = 0;
  for (size_t i = 0; i < count; ++i) {
    const Bits found = load_bits<Bits>(decoded, i), expected = load_bits<Bits>(wanted, i);
    if (found == expected) continue;
    if (found != 0 || expected != kNegativeZero) return std::nullopt;
    ++lost;
  }
  return lost;
}

// The same for a packed weight, decoded some lines at a time.
std::optional<size_t> lost_signs(const SparseMatrix& packed, const Tensor& dense,
                                 ThreadPool* pool) {
  constexpr size_t kTogether = size_t{1} << 18;  // bytes
  const Tensor wanted = dense.held();
  const Fold& fold = packed.fold;
  const size_t lines = lines_of_part(fold);
  if (fold.count() == 0) return 0;
  const size_t line = fold.rows * fold.cols / lines * bytes_of(packed.dtype);
  const size_t step = round_up(std::max<size_t>(1, kTogether / line), lines_together(packed));
  const size_t steps = ceil_div(lines, step);
  std::vector<std::optional<size_t>> lost(fold.parts * steps);
  const auto compare = [&](size_t i) {
    const size_t part = i / steps, first = i % steps * step, last = std::min(first + step, lines);
    std::vector<std::byte> decoded((last - first) * line);
    decode_lines(packed, part, first, last, decoded.data());
    const std::byte* expected = wanted.bytes().data() + (part * lines + first) * line;
    const size_t count = decoded.size() / bytes_of(packed.dtype);
    lost[i] = with_bits_of(packed.dtype, [&]<typename T>(T) {
      return lost_signs<T>(decoded.data(), expected, count);
    });
  };
  if (pool != nullptr) {
    pool->for_each(lost.size(), compare);
  } else {
    for (size_t i = 0; i < lost.size(); ++i) compare(i);
  }
  size_t sum = 0;
  for (const std::optional<size_t>& one : lost) {
    if (!one) return std::nullopt;
    sum += *one;
  }
  return sum;
}

// To the nearest multiple of the scale of its output, of 127 either way.
Tensor in_steps(const SparseMatrix& packed, const Tensor& dense) {
  const Fold& fold = packed.fold;
  std::vector<float> values = to_f32(dense);
  const std::vector<float> scale = to_f32(packed.scale);
  for (size_t part = 0; part < fold.parts; ++part) {
    for (size_t r = 0; r < fold.rows; ++r) {
      const float step = scale[part * fold.rows + r];
      for (size_t c = 0; c < fold.cols && step != 0; ++c) {
        if (packed.has_diagonal() && r == c) continue;
        float& value = values[fold.offset(part, r, c)];
        value = std::nearbyint(std::clamp(value / step, -127.0F, 127.0F)) * step;
      }
    }
  }
  return from_f32(values, dense.dtype(), dense.shape());
}

// What values of the type that `packed` has make of `dense`.
Tensor as_stored(const SparseMatrix& packed, const Tensor& dense) {
  const DType values = packed.values.dtype();
  if (values == dense.dtype()) return dense;
  if (values == DType::kI8) return in_steps(packed, dense);
  const Tensor rounded = from_f32(to_f32(dense), values, dense.shape());
  return from_f32(to_f32(rounded), dense.dtype(), dense.shape());
}

// Packed alike, in the same blocks with the same bits: then they decode to the same, but for the
// order of axes where one is stored [outputs, inputs] and the other [inputs, outputs].
bool same_parts(const Weight& a, const Weight& b, bool may_be_turned) {
  if (!a.is_sparse() || !b.is_sparse()) return false;
  const SparseMatrix &x = a.sparse(), &y = b.sparse();
  Fold fold = y.fold;
  fold.transposed = x.fold.transposed;
  const bool turned = x.fold.transposed != y.fold.transposed;
  const bool same_shape = turned ? may_be_turned && x.fold.parts == 1 && is_turned(x.shape, y.shape)
                                 : x.shape == y.shape;
  return same_shape && x.fold == fold && x.block == y.block && x.dtype == y.dtype &&
         x.row_start == y.row_start && x.col == y.col && same_bits(x.values, y.values) &&
         same_bits(x.scale, y.scale) && same_bits(x.diagonal, y.diagonal);
}

// `b` may be turned, where a square shape does not tell: either way is taken.
bool same_weight(const Weight& a, const Weight& b, bool may_be_turned) {
  if (same_parts(a, b, may_be_turned)) return true;
  const bool diagonal = a.is_sparse() && a.sparse().has_diagonal();
  const Tensor x = dense_of(a), y = dense_of(b);
  if (x.shape() == y.shape() && equal_elements(x, y, diagonal)) return true;
  return may_be_turned && is_turned(x.shape(), y.shape()) &&
         equal_elements(x, with_axes_exchanged(y, 0, 1), diagonal);
}

// The same where it is known along which axes the outputs of both lie; nullopt for other shapes.
std::optional<bool> same_weight(const Weight& a, const Weight& b, size_t outputs_a,
                                size_t outputs_b) {
  if (same_parts(a, b, true)) return true;
  const auto y = laid_out(dense_of(b), outputs_b, a.shape(), outputs_a);
  if (!y) return std::nullopt;
  return equal_elements(dense_of(a), *y, a.is_sparse() && a.sparse().has_diagonal());
}

}  // namespace

bool equal_elements(const Tensor& a, const Tensor& b, bool zero_signs_free) {
  if (same_bits(a, b)) return true;
  if (!zero_signs_free || a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (!is_float(a.dtype())) return false;
  switch (bytes_of(a.dtype())) {
    case 2:
      return equal_or_zero<uint16_t>(a, b);
    case 4:
      return equal_or_zero<uint32_t>(a, b);
    default:
      return equal_or_zero<uint64_t>(a, b);
  }
}

std::optional<size_t> lost_zero_signs(const SparseMatrix& packed, const Tensor& dense,
                                      ThreadPool* pool) {
  if (packed.dtype != dense.dtype() || packed.shape != dense.shape()) return std::nullopt;
  if (packed.values.dtype() == packed.dtype) return lost_signs(packed, dense, pool);
  const Tensor decoded = decode(packed, pool), wanted = as_stored(packed, dense);
  const std::byte *const found = decoded.bytes().data(), *const expected = wanted.bytes().data();
  return with_bits_of(
      packed.dtype, [&]<typename T>(T) { return lost_signs<T>(found, expected, decoded.count()); });
}

Packing check_packing(const Model& masked, const Model& packed, ThreadPool* pool) {
  const auto dense = named_weights(masked), sparse = named_weights(packed);
  ESPALIER_CHECK(dense.size() == sparse.size());
  Packing result;
  for (size_t i = 0; i < dense.size(); ++i) {
    const auto& [name, weight] = sparse[i];
    const Tensor wanted = dense_of(*dense[i].second);
    if (!weight->is_sparse()) {
      if (!same_bits(weight->dense(), wanted)) result.wrong.push_back(name);
    } else {
      const std::optional<size_t> lost = lost_zero_signs(weight->sparse(), wanted, pool);
      if (!lost) result.wrong.push_back(name);
      result.zero_signs += lost.value_or(0);
    }
    weight->give_back();
    dense[i].second->give_back();
  }
  return result;
}

ReadBack compare_read_back(const Model& written, const Model& read, bool literals) {
  const bool other_format = written.origin.format != read.origin.format;
  const auto axes_written = outputs_axes(written), axes_read = outputs_axes(read);
  // nullopt where the two are not the same weight.
  const auto compare = [&](const Weight& a, const Weight& b) -> std::optional<bool> {
    const auto axis_a = axes_written.find(&a), axis_b = axes_read.find(&b);
    if (axis_a != axes_written.end() && axis_b != axes_read.end())
      return same_weight(a, b, axis_a->second, axis_b->second);
    const bool turned = other_format && can_be_packed(a.dtype()) && is_turned(a.shape(), b.shape());
    if (a.shape() != b.shape() && !turned) return std::nullopt;
    return same_weight(a, b, turned);
  };
  std::map<std::string, const Weight*> found;
  for (const auto& [name, weight] : named_weights(read)) found.emplace(name, weight);
  ReadBack result;
  for (const auto& [name, weight] : named_weights(written)) {
    const bool literal = !is_float(weight->dtype()) || element_count(weight->shape()) <= 1;
    if (literal && !literals) continue;
    ++result.total;
    const auto other = found.find(name);
    if (other == found.end() || other->second->dtype() != weight->dtype()) continue;
    const std::optional<bool> same = compare(*weight, *other->second);
    weight->give_back();
    other->second->give_back();
    if (!same) continue;
    ++result.compared;
    if (!*same) result.wrong.push_back(name);
  }
  return result;
}

}  // namespace espalier
