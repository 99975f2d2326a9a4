#include "lib/c/kernels/guard.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <stdexcept>

#include "lib/base/checked_math.h"
#include "lib/kernels/simd_target.h"

namespace espalier {
namespace {

// Without a destructor, so that a thread may still fail while it ends.
thread_local std::array<char, 2048> last_error{};

constexpr std::array kTypes{DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8,
                            DType::kI16, DType::kI32, DType::kI64, DType::kU8,   DType::kU16,
                            DType::kU32, DType::kU64, DType::kBool};

espalier_status status_of(Fault fault) {
  switch (fault) {
    case Fault::kUsage:
      return ESPALIER_ERROR_USAGE;
    case Fault::kFormat:
      return ESPALIER_ERROR_FORMAT;
    case Fault::kUnsupported:
      break;
  }
  return ESPALIER_ERROR_UNSUPPORTED;
}

}  // namespace

espalier_status fail_with(espalier_status status, const char* text) noexcept {
  const size_t length = std::min(std::strlen(text), last_error.size() - 1);
  std::copy_n(text, length, last_error.begin());
  last_error[length] = '\0';
  return status;
}

espalier_status status_of_exception() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return fail_with(status_of(error.fault()), error.what());
  } catch (const std::bad_alloc&) {
    return fail_with(ESPALIER_ERROR_MEMORY, "memory is exhausted");
  } catch (const std::length_error&) {
    return fail_with(ESPALIER_ERROR_MEMORY, "more than memory can hold");
  } catch (const std::exception& error) {
    return fail_with(ESPALIER_ERROR_INTERNAL, error.what());
  } catch (...) {
    return fail_with(ESPALIER_ERROR_INTERNAL, "an exception of unknown type");
  }
}

void expect_flags(uint32_t flags, uint32_t known, const char* name) {
  expect((flags & ~known) == 0, "{}: flags are {:#x}, this version knows {:#x}", name, flags,
         known);
}

DType dtype_of_c(espalier_type type, const char* name) {
  expect(type >= 0 && static_cast<size_t>(type) < kTypes.size(),
         "{} is {}, which is not an espalier_type", name, type);
  return kTypes[static_cast<size_t>(type)];
}

espalier_type c_type_of(DType dtype) {
  const auto found = std::ranges::find(kTypes, dtype);
  return found == kTypes.end() ? -1 : static_cast<espalier_type>(found - kTypes.begin());
}

size_t product_of_extents(std::initializer_list<size_t> extents, const char* name) {
  constexpr uint64_t kMost = uint64_t{1} << 48;
  uint64_t product = 1;
  for (const size_t extent : extents) {
    const auto next = checked_mul<uint64_t>(product, extent);
    expect(next && *next <= kMost && *next <= SIZE_MAX, "{}: more than 2^48 elements", name);
    product = *next;
  }
  return static_cast<size_t>(product);
}

}  // namespace espalier

extern "C" {

const char* espalier_last_error(void) { return espalier::last_error.data(); }

const char* espalier_version(void) { return ESPALIER_VERSION; }

const char* espalier_simd_target(void) {
  static thread_local std::array<char, 32> name{};
  espalier::guarded([] {
    const std::string target = espalier::simd_target();
    *std::copy_n(target.begin(), std::min(target.size(), name.size() - 1), name.begin()) = '\0';
  });
  return name.data();
}

}  // extern "C"
