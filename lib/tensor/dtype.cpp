#include "lib/tensor/dtype.h"

#include <array>

#include "lib/base/check.h"

namespace espalier {
namespace {

struct Row {
  std::string_view name;
  size_t bits;
};

constexpr std::array<Row, static_cast<size_t>(DType::kUnknown) + 1> kRows{{
    {"f32", 32},         {"f64", 64},     {"f16", 16},       {"bf16", 16},   {"i8", 8},
    {"i16", 16},         {"i32", 32},     {"i64", 64},       {"u8", 8},      {"u16", 16},
    {"u32", 32},         {"u64", 64},     {"bool", 8},       {"string", 0},  {"complex64", 64},
    {"complex128", 128}, {"f8e4m3fn", 8}, {"f8e4m3fnuz", 8}, {"f8e5m2", 8},  {"f8e5m2fnuz", 8},
    {"f8e8m0", 8},       {"u4", 4},       {"i4", 4},         {"f4e2m1", 4},  {"u2", 2},
    {"i2", 2},           {"f6e2m3", 6},   {"f6e3m2", 6},     {"unknown", 0},
}};

}  // namespace

std::string_view name_of(DType dtype) { return kRows[static_cast<size_t>(dtype)].name; }

size_t bits_of(DType dtype) { return kRows[static_cast<size_t>(dtype)].bits; }

size_t bytes_of(DType dtype) {
  const size_t bits = bits_of(dtype);
  ESPALIER_CHECK(bits != 0 && bits % 8 == 0);
  return bits / 8;
}

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

}  // namespace espalier
