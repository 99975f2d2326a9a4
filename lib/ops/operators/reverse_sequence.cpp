// ReverseSequence: the first steps of each sequence of a batch, backwards.

#include <cstring>

#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// Per sequence of the batch: the first `length` steps in reverse order, the others as they are.
Run prepare(const PrepareContext& context) {
  const int64_t batch_axis = int_attribute(context.node, "batch_axis", 1);
  const int64_t time_axis = int_attribute(context.node, "time_axis", 0);
  if (batch_axis < 0 || batch_axis > 1 || time_axis != 1 - batch_axis) {
    fail("batch_axis is {} and time_axis {}, expected 0 and 1 or 1 and 0", batch_axis, time_axis);
  }
  return [time_first = time_axis == 0](RunContext& run) {
    const TensorView& x = run.input(0);
    if (x.dims.rank() < 2) fail("shape is {}, expected two axes or more", to_string(x.dims));
    const auto first = static_cast<size_t>(x.dims[0]), second = static_cast<size_t>(x.dims[1]);
    const size_t steps = time_first ? first : second, batch = time_first ? second : first;
    const std::vector<int64_t> lengths = long_ints_of(run.input(1));
    if (lengths.size() != batch) fail("{} lengths for {} sequences", lengths.size(), batch);
    for (const int64_t length : lengths) {
      if (length < 0 || static_cast<size_t>(length) > steps) {
        fail("a length is {}, expected 0 to {}", length, steps);
      }
    }
    const TensorView y = run.output(0, x.dtype, x.dims);
    const size_t piece = x.dims.product(2, x.dims.rank()) * bytes_in_view(x.dtype);
    if (piece == 0) return;
    for (size_t i = 0; i < first; ++i) {
      for (size_t j = 0; j < second; ++j) {
        const size_t step = time_first ? i : j;
        const auto length = static_cast<size_t>(lengths[time_first ? j : i]);
        const size_t source = step < length ? length - 1 - step : step;
        const size_t from = time_first ? source * second + j : i * second + source;
        std::memcpy(y.bytes + (i * second + j) * piece, x.bytes + from * piece, piece);
      }
    }
  };
}

}  // namespace

constinit const Operator reverse_sequence_operator{.name = "ReverseSequence", .prepare = prepare};

}  // namespace espalier
