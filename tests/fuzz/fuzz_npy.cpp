#include "formats/npy/npy.h"
#include "lib/base/check.h"
#include "lib/base/error.h"

// What is read can be written, and read again to the same bits.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace espalier;
  try {
    const Tensor tensor = read_npy(std::as_bytes(std::span(data, size)));
    const std::string bytes = npy_bytes(tensor);
    ESPALIER_CHECK(same_bits(read_npy(as_bytes(bytes)), tensor));
  } catch (const Error&) {
  }
  return 0;
}
