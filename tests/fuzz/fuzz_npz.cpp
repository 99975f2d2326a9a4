#include "formats/npy/npy.h"
#include "lib/base/error.h"
#include "tests/fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace espalier;
  const FuzzFile file(data, size);
  try {
    read_npz_file(file.path());
  } catch (const Error&) {
  }
  return 0;
}
