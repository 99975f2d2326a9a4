#pragma once

#include <string>

#include "lib/tensor/tensor.h"

namespace espalier::nnef {

/// Header and items of a tensor file, one after the other. Floats as item type 0, unsigned integers
/// 1, signed 4, bool 5 with 1 bit per item.
///
/// Errors  Fault::kUnsupported: an element type that tensor files do not have, a rank above 8, an
///         extent or a size from 2^32 on.
/// Source  NNEF 1.0.5, chapter 5.2 (tensor file format).
std::string dat_header(DType dtype, const Shape& shape);
/// The items as they stand after the header; those of every type but bool are tensor.bytes().
std::string dat_items(const Tensor& tensor);

/// "scalar", "integer" or "logical": T of variable<T> and external<T>. Errors as above.
std::string_view nnef_type(DType dtype);

}  // namespace espalier::nnef
