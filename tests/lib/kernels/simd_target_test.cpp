#include <doctest/doctest.h>

#include "lib/kernels/simd_target.h"

// Builds for ARM name the target that the emulated machine must run, lest the other tests run NEON alone.
#ifdef ESPALIER_SVE_TARGET
namespace espalier {
namespace {

TEST_CASE("SVE is the best target where its vectors are as long as the kernels are compiled for") {
  CHECK(simd_targets() == std::vector<std::string>{ESPALIER_SVE_TARGET, "NEON"});
  CHECK(simd_target() == ESPALIER_SVE_TARGET);
}

TEST_CASE("SVE with vectors of another length runs NEON" * doctest::skip()) {  // on another machine
  CHECK(simd_targets() == std::vector<std::string>{"NEON"});
  CHECK_THROWS(set_simd_target(ESPALIER_SVE_TARGET));
}

}  // namespace
}  // namespace espalier
#endif
