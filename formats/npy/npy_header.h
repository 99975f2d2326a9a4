#pragma once

#include <string>

#include "lib/tensor/tensor.h"

namespace espalier {

/// What stands before the elements of a .npy file.
struct NpyHeader {
  DType dtype = DType::kF32;
  Shape shape;
  bool fortran_order = false;
};

/// Takes magic, version and header text from the front of `reader`.
/// Errors  as read_npy.
NpyHeader read_npy_header(ByteReader& reader);

/// Magic, version 1.0 and header text, padded so that the elements start at a multiple of 64 bytes.
/// Errors  Fault::kUnsupported naming a type that NumPy does not have.
std::string npy_header(DType dtype, const Shape& shape);

}  // namespace espalier
