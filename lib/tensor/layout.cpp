#include "lib/tensor/layout.h"

#include <algorithm>
#include <cstring>

namespace espalier {
namespace {

// A shape without axes of one element, and where its outputs are among those that are left.
struct Squeezed {
  Shape shape;
  std::optional<size_t> outputs;
};

Squeezed squeezed(const Shape& shape, std::optional<size_t> outputs) {
  Squeezed result;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] == 1) continue;
    if (axis == outputs) result.outputs = result.shape.size();
    result.shape.push_back(shape[axis]);
  }
  return result;
}

size_t product(const Shape& shape, size_t first, size_t last) {
  size_t result = 1;
  for (size_t axis = first; axis < last; ++axis) result *= static_cast<size_t>(shape[axis]);
  return result;
}

}  // namespace

// Untransposed, the outputs of all parts are the leading axes up to theirs; transposed, what is
// before them is the inputs of all parts.
size_t outputs_axis(const Shape& shape, const Fold& fold) {
  const size_t before = fold.parts * (fold.transposed ? fold.cols : fold.rows);
  for (size_t axis = 0; axis + 1 < shape.size(); ++axis) {
    if (product(shape, 0, axis + 1) == before) return axis + (fold.transposed ? 1 : 0);
  }
  return shape.empty() ? 0 : shape.size() - 1;
}

Tensor with_axes_exchanged(const Tensor& tensor, size_t a, size_t b) {
  if (a == b) return tensor.copy();
  if (a > b) std::swap(a, b);
  const Shape& shape = tensor.shape();
  Shape exchanged = shape;
  std::swap(exchanged[a], exchanged[b]);
  Tensor result = Tensor::zeros(tensor.dtype(), exchanged);
  const size_t outer = product(shape, 0, a), first = product(shape, a, a + 1),
               between = product(shape, a + 1, b), second = product(shape, b, b + 1),
               width = product(shape, b + 1, shape.size()) * bytes_of(tensor.dtype());
  const Tensor held = tensor.held();
  const std::byte* from = held.bytes().data();
  std::byte* const to = result.mutable_bytes().data();
  for (size_t o = 0; o < outer; ++o) {
    for (size_t i = 0; i < first; ++i) {
      for (size_t m = 0; m < between; ++m) {
        for (size_t j = 0; j < second; ++j, from += width)
          std::memcpy(to + (((o * second + j) * between + m) * first + i) * width, from, width);
      }
    }
  }
  return result;
}

std::optional<Tensor> laid_out(const Tensor& tensor, std::optional<size_t> from, const Shape& shape,
                               std::optional<size_t> to) {
  Squeezed here = squeezed(tensor.shape(), from), there = squeezed(shape, to);
  const bool known = here.outputs && there.outputs;
  if (!known || here.outputs == there.outputs) {
    if (here.shape == there.shape) return tensor.reshaped(shape);
    if (known || here.shape.size() != 2) return std::nullopt;
    here.outputs = 0, there.outputs = 1;
  }
  const size_t bits = bits_of(tensor.dtype());
  if (bits == 0 || bits % 8 != 0) return std::nullopt;
  const size_t a = *here.outputs, b = *there.outputs;
  Shape exchanged = here.shape;
  if (std::max(a, b) >= exchanged.size()) return std::nullopt;
  std::swap(exchanged[a], exchanged[b]);
  if (exchanged != there.shape) return std::nullopt;
  return with_axes_exchanged(tensor.reshaped(here.shape), a, b).reshaped(shape);
}

}  // namespace espalier
