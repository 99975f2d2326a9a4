#pragma once

#include <cstdint>
#include <span>

#include "lib/base/byte_reader.h"
#include "lib/tensor/dtype.h"

namespace espalier {

/// Types of at most 8 bits that values are stored in and not computed with: floats of 8 and 4 bits,
/// and integers of 4 and 2 bits, which share bytes in a tensor. In views each element has a byte of
/// its own: a float its bits, an integer its value (i4 and i2 extended by their sign).
/// Source  arXiv:2209.05433 (E4M3FN, E5M2), arXiv:2206.02915 (FNUZ), OCP MX 1.0 (E2M1, E8M0).
bool is_small_float(DType dtype);   ///< f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f8e8m0, f4e2m1
bool is_sub_byte_int(DType dtype);  ///< u4, i4, u2, i2
bool is_sub_byte(DType dtype);      ///< of less than 8 bits, and one of the above

/// The value of the bits of one element of a small float, exact.
float f32_from_small(DType dtype, uint8_t bits);

/// The bits nearest to `value`, ties to even. Past the largest finite value: that value where
/// `saturate`, else infinity or, where the type has none, NaN (f4e2m1 has neither and always
/// saturates; its NaN is -0). f8e8m0 holds powers of two without a sign: see e8m0_from.
uint8_t small_from(DType dtype, double value, bool saturate);

/// How a value between two powers of two becomes one of them.
enum class PowerRounding { kUp, kDown, kNearest };
/// 0 and what lies below 2^-127 becomes 2^-127 where `saturate`, else NaN; likewise above 2^127.
/// The sign is dropped.
uint8_t e8m0_from(double value, PowerRounding rounding, bool saturate);

/// The low bits of `value`, extended again as that type extends them.
int8_t wrapped_to(DType sub_byte_int, int64_t value);

/// One byte for each element of a sub-byte type, from and to the shared bytes of a tensor. `joined`
/// is as long as byte_count() says.
void spread_sub_bytes(DType dtype, Bytes joined, std::span<uint8_t> elements);
void join_sub_bytes(DType dtype, std::span<const uint8_t> elements, std::span<std::byte> joined);

}  // namespace espalier
