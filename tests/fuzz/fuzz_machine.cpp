#include <cmath>

#include "lib/base/check.h"
#include "lib/base/error.h"
#include "lib/search/cost_model.h"
#include "lib/search/machine_file.h"
#include "tests/fuzz/fuzz_file.h"

// Rows that are believed give times that are numbers.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace espalier;
  const FuzzFile file(data, size);
  try {
    const KernelResults machine = read_machine(file.path());
    for (const BlockShape block : {BlockShape{16, 1}, BlockShape{8, 4}, BlockShape{1, 1}}) {
      const TimeLine line = predict(machine, block, 768, 512, 4);
      ESPALIER_CHECK(std::isfinite(line.dense) && line.dense >= 0);
      ESPALIER_CHECK(std::isfinite(line.fixed) && line.fixed >= 0);
      ESPALIER_CHECK(std::isfinite(line.per_density) && line.per_density >= 0);
      const auto even = line.break_even();
      ESPALIER_CHECK(!even || (*even >= 0 && *even <= 1));
    }
  } catch (const Error&) {
  }
  return 0;
}
