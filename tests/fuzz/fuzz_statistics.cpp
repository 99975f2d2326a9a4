#include <cstring>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/fnv1a.h"
#include "lib/calibrate/statistics_file.h"
#include "tests/fuzz/fuzz_file.h"

// The checksum in the last eight bytes is made right, so that what lies behind it is reached.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace espalier;
  std::vector<uint8_t> bytes(data, data + size);
  if (size > sizeof(uint64_t)) {
    const size_t summed = size - sizeof(uint64_t);
    const uint64_t checksum = fnv1a(std::as_bytes(std::span(bytes).first(summed)));
    std::memcpy(bytes.data() + summed, &checksum, sizeof(checksum));
  }
  const FuzzFile file(bytes.data(), size);
  try {
    const Statistics statistics = read_statistics(file.path());
    if (merged(statistics, statistics).layers.size() > statistics.layers.size()) abort();
  } catch (const Error&) {
  }
  return 0;
}
