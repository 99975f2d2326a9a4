#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "lib/tensor/tensor.h"

namespace espalier {

/// Which elements of a weight are kept, and along which axis its outputs lie: formats store a weight
/// as [outputs, inputs] or as [inputs, outputs].
struct Mask {
  Mask() = default;
  Mask(Tensor mask, std::optional<size_t> axis = {}) : kept(std::move(mask)), outputs_axis(axis) {}
  Tensor kept;  ///< bool
  std::optional<size_t> outputs_axis;
};
/// By the names of the weights.
using Masks = std::map<std::string, Mask>;

/// Masks of the arrays of a file: numbers or bools, 0 where a weight is dropped and 1 where it is
/// kept, by the names of the weights; "outputs_axis/NAME" next to NAME is the axis, an integer.
/// Errors  Fault::kFormat naming the array: another value, a type that holds no numbers, an axis that
///         the mask has not.
Masks masks_of_arrays(const std::map<std::string, Tensor>& arrays);
/// The same the other way round; masks become bool.
std::map<std::string, Tensor> arrays_of(const Masks& masks);

}  // namespace espalier
