#pragma once

#include <optional>

#include "lib/tensor/matrix_view.h"

namespace espalier {

/// The axis of a weight of that shape along which its outputs lie (of a recurrent layer: the gates
/// one after the other; of a convolution without its groups).
size_t outputs_axis(const Shape& shape, const Fold& fold);

/// A copy with two axes exchanged; elements of whole bytes.
Tensor with_axes_exchanged(const Tensor& tensor, size_t a, size_t b);

/// `tensor`, whose outputs lie along the axis `from`, with them along the axis `to` of `shape`:
/// itself under that shape, or a copy with two axes exchanged. Axes of one element do not count: a
/// matrix may be [1, outputs, inputs] or [outputs, inputs]. Where one of the axes is not known,
/// extents decide; a square matrix then stays as it is. nullopt where the extents are others, and
/// where elements that would be moved share bytes.
std::optional<Tensor> laid_out(const Tensor& tensor, std::optional<size_t> from, const Shape& shape,
                               std::optional<size_t> to);

}  // namespace espalier
