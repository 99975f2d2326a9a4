#pragma once

// Inside lib/c only: from exceptions to espalier_status, and what the functions have in common.

#include <fmt/format.h>

#include <cstddef>
#include <initializer_list>

#include "lib/base/error.h"
#include "lib/c/kernels/espalier_kernels.h"
#include "lib/tensor/dtype.h"

namespace espalier {

/// Keeps the text for espalier_last_error() of this thread; allocates nothing.
espalier_status fail_with(espalier_status status, const char* text) noexcept;
/// The exception that is being handled.
espalier_status status_of_exception() noexcept;

/// Runs body(); nothing leaves it.
template <typename Body>
espalier_status guarded(const Body& body) noexcept {
  try {
    body();
    return ESPALIER_OK;
  } catch (...) {
    return status_of_exception();
  }
}

template <typename... Args>
void expect(bool holds, fmt::format_string<Args...> text, Args&&... args) {
  if (!holds) throw Error(Fault::kUsage, fmt::format(text, std::forward<Args>(args)...));
}

template <typename T>
T& not_null(T* pointer, const char* name) {
  expect(pointer != nullptr, "{} is null", name);
  return *pointer;
}

/// A struct that begins with its size, as its caller knows it. One that is longer was made for a
/// newer version, whose fields this one cannot serve.
template <typename Desc>
const Desc& described(const Desc* desc, const char* name) {
  const size_t size = not_null(desc, name).size;
  expect(size >= sizeof(Desc), "{}: size is {}, expected {}: set it to sizeof", name, size,
         sizeof(Desc));
  expect(size == sizeof(Desc), "{}: size is {}, this version has {}: a newer one is needed", name,
         size, sizeof(Desc));
  return *desc;
}

void expect_flags(uint32_t flags, uint32_t known, const char* name);

/// The element type that a caller means.
/// Errors  Fault::kUsage for a number that is none.
DType dtype_of_c(espalier_type type, const char* name);
espalier_type c_type_of(DType dtype);  ///< -1 where C has none

/// a * b * ...; Errors  Fault::kUsage where the product passes 2^48: no memory holds that.
size_t product_of_extents(std::initializer_list<size_t> extents, const char* name);

}  // namespace espalier
