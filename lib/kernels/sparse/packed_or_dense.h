#pragma once

#include <memory>

#include "lib/kernels/conv/conv_shape.h"
#include "lib/kernels/product.h"
#include "lib/kernels/sparse/measured_choice.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// Which of two ways takes less time: shares of the processor's peak that the kernels reach on one
/// thread by block shape and number of samples, measured (docs/benchmarks.md, "Packed or dense").
/// The same on every machine, so that results do not depend on a clock, unless `measured` knows.
bool packed_is_quicker(const SparseMatrix& weight, size_t n, const MeasuredChoice& measured = {});

/// The same for a convolution over `batch` images of that size by the packed filters `weight` of
/// its groups: as ConvProduct computes it, against the dense convolution. `measured` is asked, if it
/// is one, where the image is multiplied as it lies (windows of 1x1).
bool packed_is_quicker(const SparseMatrix& weight, const ConvShape& shape, size_t batch,
                       size_t height, size_t width, const MeasuredChoice& measured = {});

/// Set once a packed weight runs dense because that is quicker.
using RanDense = std::shared_ptr<bool>;

/// `packed` where that is quicker, else the decoded weight by the dense kernel, which is made when
/// it is first needed. `measured`: chooses where it knows, if it is one.
std::unique_ptr<const Product> packed_or_dense(std::unique_ptr<const Product> packed,
                                               const SparseMatrix& weight, RanDense flag,
                                               MeasuredChoice measured = {});

}  // namespace espalier
