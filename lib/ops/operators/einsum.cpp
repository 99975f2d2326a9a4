// Einsum: sums of products over named axes, one operand after the other as a product of matrices.

#include <algorithm>
#include <array>
#include <cctype>

#include "lib/base/checked_math.h"
#include "lib/ops/multiply.h"
#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// A letter's code, or that of an axis under "...": kFirstUnnamed for the last of them, then
// upwards.
using Label = unsigned;
using Labels = std::vector<Label>;
constexpr Label kFirstUnnamed = 128, kLabels = kFirstUnnamed + Dims::kMaxRank;
constexpr Label kEllipsis = kLabels;  // in a term: stands for any number of axes

struct Equation {
  std::vector<Labels> inputs;
  std::optional<Labels> output;
};

Labels parse_term(const std::string& term) {
  Labels labels;
  for (size_t i = 0; i < term.size(); ++i) {
    if (std::isalpha(static_cast<unsigned char>(term[i])) != 0) {
      labels.push_back(static_cast<unsigned char>(term[i]));
    } else if (term.compare(i, 3, "...") == 0 && std::ranges::count(labels, kEllipsis) == 0) {
      labels.push_back(kEllipsis);
      i += 2;
    } else {
      fail("the equation has \"{}\", expected a letter or one \"...\"",
           printable(term.substr(i, 1)));
    }
  }
  return labels;
}

Equation parse(std::string text) {
  std::erase_if(text, [](unsigned char c) { return std::isspace(c) != 0; });
  Equation equation;
  const size_t arrow = text.find("->");
  if (arrow != std::string::npos) {
    equation.output = parse_term(text.substr(arrow + 2));
    text.resize(arrow);
  }
  for (size_t from = 0;;) {
    const size_t comma = text.find(',', from);
    equation.inputs.push_back(parse_term(text.substr(from, comma - from)));
    if (comma == std::string::npos) break;
    from = comma + 1;
  }
  return equation;
}

using Extents = std::array<size_t, kLabels>;

struct Axis {
  Label label;
  size_t extent;
  ptrdiff_t stride;
};

template <typename T>
struct Term {
  const T* data;
  std::vector<Axis> axes;  // each label once

  bool has(Label label) const {
    return std::ranges::any_of(axes, [label](const Axis& axis) { return axis.label == label; });
  }
};

// The labels of a term's axes: "..." stands for those that the letters leave.
Labels spread(const Labels& term, size_t rank) {
  const bool open = std::ranges::count(term, kEllipsis) != 0;
  const size_t named = term.size() - (open ? 1 : 0);
  if (open ? rank < named : rank != named) {
    fail("an operand has {} axes, the equation names {}{}", rank, open ? "at least " : "", named);
  }
  Labels labels;
  for (const Label label : term) {
    if (label != kEllipsis) {
      labels.push_back(label);
      continue;
    }
    for (size_t i = rank - named; i-- > 0;) {
      labels.push_back(kFirstUnnamed + static_cast<Label>(i));
    }
  }
  return labels;
}

// The output's labels; without one in the equation: unnamed axes, then letters that occur once, in
// alphabetical order.
Labels output_labels(const Equation& equation, const std::vector<Labels>& inputs) {
  std::array<size_t, kLabels> uses{};
  size_t unnamed = 0;
  for (const Labels& labels : inputs) {
    for (const Label label : labels) {
      ++uses[label];
      if (label >= kFirstUnnamed) unnamed = std::max<size_t>(unnamed, label - kFirstUnnamed + 1);
    }
  }
  Labels result;
  if (!equation.output) {
    for (size_t i = unnamed; i-- > 0;) result.push_back(kFirstUnnamed + static_cast<Label>(i));
    for (Label label = 0; label < kFirstUnnamed; ++label) {
      if (uses[label] == 1) result.push_back(label);
    }
    return result;
  }
  const bool open = std::ranges::count(*equation.output, kEllipsis) != 0;
  if (!open && unnamed != 0) fail("the equation's output omits \"...\"");
  result = spread(*equation.output, equation.output->size() - (open ? 1 : 0) + unnamed);
  for (const Label label : result) {
    if (uses[label] == 0 || std::ranges::count(result, label) != 1) {
      fail("the equation's output names an axis {}", uses[label] == 0 ? "of no input" : "twice");
    }
  }
  return result;
}

// An axis of extent 1 broadcasts to what the others say.
Extents extents_of(const std::vector<Labels>& labels, const RunContext& run) {
  Extents extents;
  extents.fill(1);
  for (size_t i = 0; i < labels.size(); ++i) {
    const Dims& dims = run.input(i).dims;
    for (size_t axis = 0; axis < labels[i].size(); ++axis) {
      const auto extent = static_cast<size_t>(dims[axis]);
      size_t& known = extents[labels[i][axis]];
      if (extent == 1 || extent == known) continue;
      if (known != 1) fail("extents {} and {} of one axis", known, extent);
      known = extent;
    }
  }
  return extents;
}

// Axes that broadcast are left out; a label named twice walks the diagonal.
template <typename T>
Term<T> term_of(const TensorView& view, const Labels& labels, const Extents& extents) {
  Term<T> term{view.data<T>(), {}};
  const Strides strides = row_major(view.dims);
  for (size_t i = 0; i < labels.size(); ++i) {
    if (static_cast<size_t>(view.dims[i]) != extents[labels[i]]) continue;
    const auto same = std::ranges::find(term.axes, labels[i], &Axis::label);
    if (same == term.axes.end()) {
      term.axes.push_back({labels[i], extents[labels[i]], strides[i]});
    } else {
      same->stride += strides[i];
    }
  }
  return term;
}

size_t count_of(std::span<const Axis> axes) {
  size_t count = 1;
  for (const Axis& axis : axes) {
    const auto product = checked_mul(count, axis.extent);
    if (!product || *product > size_t{1} << 48) fail("a product of axes is too large");
    count = *product;
  }
  return count;
}

// Offsets of all places along some axes, in row-major order.
class Walk {
 public:
  explicit Walk(std::span<const Axis> axes) : axes_(axes), at_(axes.size(), 0) {}
  ptrdiff_t offset() const { return offset_; }
  void next() {
    for (size_t i = axes_.size(); i-- > 0;) {
      offset_ += axes_[i].stride;
      if (++at_[i] < axes_[i].extent) return;
      offset_ -= static_cast<ptrdiff_t>(axes_[i].extent) * axes_[i].stride;
      at_[i] = 0;
    }
  }

 private:
  std::span<const Axis> axes_;
  std::vector<size_t> at_;
  ptrdiff_t offset_ = 0;
};

std::vector<Axis> picked(std::span<const Axis> axes, const Labels& labels) {
  std::vector<Axis> result;
  for (const Label label : labels) {
    const auto found = std::ranges::find(axes, label, &Axis::label);
    ESPALIER_CHECK(found != axes.end());
    result.push_back(*found);
  }
  return result;
}

// Sums of f32 are kept in f64, integers wrap around.
template <typename T>
using Total =
    std::conditional_t<std::is_same_v<T, float>, double,
                       typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>,
                                                   std::type_identity<T>>::type>;

// The term with its axes in the order of `kept`, dense, and summed over `summed`. Reads it where it
// lies if it is that already.
template <typename T>
const T* laid_out(const Term<T>& term, const Labels& kept, const Labels& summed, RunContext& run,
                  T* into = nullptr) {
  const std::vector<Axis> axes = picked(term.axes, kept), inner = picked(term.axes, summed);
  const size_t count = count_of(axes), terms = count_of(inner);
  bool dense = inner.empty() && into == nullptr;
  ptrdiff_t stride = 1;
  for (size_t i = axes.size(); i-- > 0; stride *= static_cast<ptrdiff_t>(axes[i].extent)) {
    dense = dense && (axes[i].extent == 1 || axes[i].stride == stride);
  }
  if (dense) return term.data;
  T* to = into != nullptr ? into : reinterpret_cast<T*>(run.scratch(count * sizeof(T)));
  Walk place(axes);
  for (size_t i = 0; i < count; ++i, place.next()) {
    Total<T> sum{0};
    Walk step(inner);
    for (size_t k = 0; k < terms; ++k, step.next()) {
      sum = static_cast<Total<T>>(sum +
                                  static_cast<Total<T>>(term.data[place.offset() + step.offset()]));
    }
    to[i] = static_cast<T>(sum);
  }
  return to;
}

template <typename T>
void multiply_dense(const T* a, const T* b, ProductExtents e, T* c, ThreadPool& pool) {
  if constexpr (std::is_floating_point_v<T>) {
    multiply<T>(a, false, b, false, e, c, pool);
  } else {
    for (size_t i = 0; i < e.m; ++i) {
      for (size_t j = 0; j < e.n; ++j) {
        uint64_t sum = 0;
        for (size_t k = 0; k < e.k; ++k) {
          sum += static_cast<uint64_t>(a[i * e.k + k]) * static_cast<uint64_t>(b[k * e.n + j]);
        }
        c[i * e.n + j] = static_cast<T>(sum);
      }
    }
  }
}

// One term for two: axes that `kept` names stay, all others are summed.
template <typename T>
Term<T> contracted(const Term<T>& a, const Term<T>& b, const std::array<bool, kLabels>& kept,
                   RunContext& run) {
  Labels batch, left, right, inner, left_summed, right_summed;
  for (const Axis& axis : a.axes) {
    const bool shared = b.has(axis.label), stays = kept[axis.label];
    (shared ? (stays ? batch : inner) : (stays ? left : left_summed)).push_back(axis.label);
  }
  for (const Axis& axis : b.axes) {
    if (a.has(axis.label)) continue;
    (kept[axis.label] ? right : right_summed).push_back(axis.label);
  }
  const auto joined = [](Labels first, const Labels& second, const Labels& third) {
    first.insert(first.end(), second.begin(), second.end());
    first.insert(first.end(), third.begin(), third.end());
    return first;
  };
  const T* from_a = laid_out(a, joined(batch, left, inner), left_summed, run);
  const T* from_b = laid_out(b, joined(batch, inner, right), right_summed, run);
  Term<T> result{nullptr, picked(a.axes, joined(batch, left, {}))};
  for (const Axis& axis : picked(b.axes, right)) result.axes.push_back(axis);
  const size_t count = count_of(result.axes);
  ptrdiff_t stride = 1;
  for (size_t i = result.axes.size(); i-- > 0;) {
    result.axes[i].stride = stride;
    stride *= static_cast<ptrdiff_t>(result.axes[i].extent);
  }
  const size_t batches = count_of(picked(a.axes, batch));
  const ProductExtents e{count_of(picked(a.axes, left)), count_of(picked(a.axes, inner)),
                         count_of(picked(b.axes, right))};
  T* to = reinterpret_cast<T*>(run.scratch(count * sizeof(T)));
  result.data = to;
  if (count == 0) return result;
  for (size_t i = 0; i < batches; ++i) {
    multiply_dense(from_a + i * e.m * e.k, from_b + i * e.k * e.n, e, to + i * e.m * e.n,
                   run.pool());
  }
  return result;
}

template <typename T>
void einsum(RunContext& run, const std::vector<Labels>& labels, const Labels& output,
            const Extents& extents) {
  Dims dims;
  for (const Label label : output) dims.push_back(static_cast<int64_t>(extents[label]));
  Term<T> sum = term_of<T>(run.input(0), labels[0], extents);
  for (size_t i = 1; i < labels.size(); ++i) {
    const Term<T> next = term_of<T>(run.input(i), labels[i], extents);
    std::array<bool, kLabels> kept{};  // what the output or a later operand names
    for (const Label label : output) kept[label] = true;
    for (size_t k = i + 1; k < labels.size(); ++k) {
      for (const Label label : labels[k]) kept[label] = true;
    }
    sum = contracted(sum, next, kept, run);
  }
  Labels summed;
  for (const Axis& axis : sum.axes) {
    if (std::ranges::count(output, axis.label) == 0) summed.push_back(axis.label);
  }
  T* to = run.output(0, dtype_of<T>(), dims).template data<T>();
  laid_out(sum, output, summed, run, to);
}

Run prepare(const PrepareContext& context) {
  return [equation = parse(string_attribute(context.node, "equation", ""))](RunContext& run) {
    const size_t count = equation.inputs.size();
    if (run.inputs() != count) fail("{} operands, the equation names {}", run.inputs(), count);
    std::vector<Labels> labels;
    for (size_t i = 0; i < count; ++i) {
      if (run.input(i).dtype != run.input(0).dtype) fail("inputs are of several types");
      labels.push_back(spread(equation.inputs[i], run.input(i).dims.rank()));
    }
    const Labels output = output_labels(equation, labels);
    const Extents extents = extents_of(labels, run);
    const DType dtype = run.input(0).dtype;
    if (!with_number(dtype,
                     [&](auto zero) { einsum<decltype(zero)>(run, labels, output, extents); })) {
      unsupported_type(dtype);
    }
  };
}

}  // namespace

constinit const Operator einsum_operator{.name = "Einsum", .prepare = prepare, .half_as_f32 = true};

}  // namespace espalier
