#include <cstdlib>

#include "formats/nnef/read/dat.h"
#include "lib/base/error.h"

// Every item is looked at, so that a tensor that leaves the file shows.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace espalier;
  try {
    const Tensor tensor = nnef::read_dat({reinterpret_cast<const std::byte*>(data), size}, nullptr);
    size_t sum = element_count(tensor.shape());
    for (const std::byte byte : tensor.bytes()) sum += static_cast<size_t>(byte);
    if (sum == SIZE_MAX) abort();
  } catch (const Error&) {
  }
  return 0;
}
