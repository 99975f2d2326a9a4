// TopK: the largest or smallest elements along an axis, and where they were.

#include <algorithm>
#include <numeric>

#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// NaN counts as larger than all numbers.
template <typename T>
bool less(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (a != a || b != b) return a == a;
  }
  return a < b;
}

// Lines of the input along the axis: [outer, extent, inner].
struct Lines {
  size_t outer, extent, inner;
};

template <typename T, bool largest>
void pick(const T* from, T* values, int64_t* places, const Lines& lines, size_t k,
          std::span<int64_t> order) {
  for (size_t line = 0; line < lines.outer * lines.inner; ++line) {
    const size_t outer = line / lines.inner, inner = line % lines.inner;
    const T* start = from + outer * lines.extent * lines.inner + inner;
    const auto at = [&](int64_t i) { return start[static_cast<size_t>(i) * lines.inner]; };
    std::iota(order.begin(), order.end(), int64_t{0});
    std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(k), order.end(),
                      [&](int64_t a, int64_t b) {
                        const T x = at(a), y = at(b);
                        const bool before = largest ? less(y, x) : less(x, y);
                        const bool after = largest ? less(x, y) : less(y, x);
                        return before || (!after && a < b);  // of equal ones the first
                      });
    for (size_t i = 0; i < k; ++i) {
      const size_t to = (outer * k + i) * lines.inner + inner;
      if (values != nullptr) values[to] = at(order[i]);
      if (places != nullptr) places[to] = order[i];
    }
  }
}

// How many are wanted: an attribute before opset 10, an input since.
int64_t wanted(const RunContext& run, const std::optional<int64_t>& attribute) {
  if (attribute) return *attribute;
  const Dims values = ints_of(run.input(1));
  if (values.rank() != 1) fail("k has {} values, expected one", values.rank());
  return values[0];
}

// Checks k, which is an attribute before opset 10 and input 1 from then on, and picks the values
// and their indices line after line.
Run prepare(const PrepareContext& context) {
  std::optional<int64_t> fixed;
  if (context.opset < 10) {
    if (find_attribute(context.node, "k") == nullptr) fail("attribute k is missing");
    fixed = int_attribute(context.node, "k", 0);
  }
  const int64_t axis_attribute = int_attribute(context.node, "axis", -1);
  const bool largest = int_attribute(context.node, "largest", 1) != 0;
  return [fixed, axis_attribute, largest](RunContext& run) {
    const TensorView& x = run.input(0);
    const size_t rank = x.dims.rank(), axis = axis_of(axis_attribute, rank);
    const int64_t k = wanted(run, fixed);
    if (k < 0 || k > x.dims[axis]) fail("k is {}, the axis has {} elements", k, x.dims[axis]);
    const Lines lines{x.dims.product(0, axis), static_cast<size_t>(x.dims[axis]),
                      x.dims.product(axis + 1, rank)};
    Dims dims = x.dims;
    dims[axis] = k;
    std::byte* values = run.wants_output(0) ? run.output(0, x.dtype, dims).bytes : nullptr;
    int64_t* places =
        run.wants_output(1) ? run.output(1, DType::kI64, dims).data<int64_t>() : nullptr;
    const std::span<int64_t> order(
        reinterpret_cast<int64_t*>(run.scratch(lines.extent * sizeof(int64_t))), lines.extent);
    const bool known = with_number(x.dtype, [&](auto zero) {
      using T = decltype(zero);
      auto* to = reinterpret_cast<T*>(values);
      const auto count = static_cast<size_t>(k);
      largest ? pick<T, true>(x.data<T>(), to, places, lines, count, order)
              : pick<T, false>(x.data<T>(), to, places, lines, count, order);
    });
    if (!known) unsupported_type(x.dtype);
  };
}

}  // namespace

constinit const Operator top_k_operator{.name = "TopK", .prepare = prepare, .half_as_f32 = true};

}  // namespace espalier
