#include <numeric>

#include "formats/archive/archive.h"
#include "lib/base/error.h"
#include "tests/fuzz/fuzz_file.h"

// Every byte of every member is looked at, so that a span that leaves the archive shows.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace espalier;
  const FuzzFile file(data, size);
  try {
    const Archive archive(file.path());
    size_t sum = 0;
    for (const std::string& name : archive.names()) {
      for (const std::byte b : archive.read(name).bytes) sum += static_cast<size_t>(b);
    }
    if (sum == SIZE_MAX) abort();
  } catch (const Error&) {
  }
  return 0;
}
