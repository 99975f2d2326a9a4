#pragma once

#include <memory>

#include "lib/base/byte_reader.h"
#include "lib/tensor/tensor.h"

namespace espalier::nnef {

/// One tensor file: 128 bytes of header, then the items row-major. The items are not copied (except
/// sub-byte ones): `owner` keeps `bytes` alive.
///
/// Reads   float 16, 32, 64; unsigned, signed and (as plain integers) quantized ones of 1 to 64
///         bits, sub-byte ones widened to the next type; logical of 1 and 8 bits; tract's
///         vendor code 0x5452 with these integers.
/// Errors  Fault::kFormat: the header contradicts itself or the length of the file;
///         Fault::kUnsupported: an item type that is not in the list above, tract's own by name.
/// Source  NNEF 1.0.5, chapter 5.2 (tensor file format).
Tensor read_dat(Bytes bytes, std::shared_ptr<const void> owner);

}  // namespace espalier::nnef
