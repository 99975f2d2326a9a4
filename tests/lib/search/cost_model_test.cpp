#include "lib/search/cost_model.h"

#include <doctest/doctest.h>

#include "lib/base/error.h"
#include "lib/search/machine_file.h"
#include "tests/lib/kernels/sparse_case.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

using doctest::Approx;

KernelResult row(std::string block, size_t m, size_t n, double sparsity, double gflops,
                 double speedup) {
  KernelResult result;
  result.kernel = "k";
  result.block = std::move(block);
  result.dtype = "f32";
  result.m = result.k = m;
  result.n = n;
  result.sparsity = sparsity;
  result.gflops_nonzero = gflops;
  result.speedup_vs_dense = speedup;
  return result;
}

TEST_CASE("times come from the rows of the block, the nearest n and then the nearest size") {
  KernelResults machine;
  machine.kernels = {row("16x1", 256, 1, 0.5, 10, 2), row("16x1", 256, 1, 0.9, 10, 10),
                     row("16x1", 1024, 1, 0.5, 99, 99), row("16x1", 256, 64, 0.5, 99, 99),
                     row("8x1", 256, 1, 0.5, 99, 99)};
  const TimeLine line = predict(machine, {16, 1}, 250, 250, 1);
  const double dense = 2e-6 * 250 * 250 / 10;  // milliseconds at 10 GFLOP/s of what is kept
  CHECK(line.dense == Approx(dense));
  CHECK(line.packed(0.5) == Approx(dense / 2));
  CHECK(line.packed(0.9) == Approx(dense / 10));
}

TEST_CASE("packed or dense is chosen by rows of the weight's block and type alone") {
  KernelResults machine;
  machine.kernels = {row("16x1", 64, 1, 0.5, 10, 0.5), row("16x1", 64, 1, 0.9, 10, 2)};
  const MeasuredChoice choice = measured_choice(machine);
  const auto weight = [](BlockShape block, double density) {
    return random_sparse({1, 64, 64}, block, density, /*diagonal=*/false);
  };
  CHECK(choice(weight({16, 1}, 0.5), 1) == false);
  CHECK(choice(weight({16, 1}, 0.05), 1) == true);
  CHECK(choice(weight({8, 1}, 0.05), 1) == std::nullopt);
  for (KernelResult& row : machine.kernels) row.dtype = "i8";
  CHECK(measured_choice(machine)(weight({16, 1}, 0.05), 1) == std::nullopt);
}

TEST_CASE("a block that was not measured is an error that says how to measure it") {
  KernelResults machine;
  machine.kernels = {row("16x1", 256, 1, 0.5, 10, 2)};
  CHECK_THROWS_WITH_AS(predict(machine, {8, 4}, 64, 64, 1),
                       doctest::Contains("bench --kernels --block 8x4"), Error);
}

std::string refusal(const std::string& json) {
  const TemporaryFolder folder;
  write_text(folder / "machine.json", json);
  try {
    read_machine(folder / "machine.json");
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kFormat);
    return error.what();
  }
  return "no error";
}

TEST_CASE("a measurement is read, and what is wrong with one is named") {
  const TemporaryFolder folder;
  write_text(folder / "machine.json",
             R"({"machine": {"processor": "P", "simd": "AVX2", "threads": 2}, "kernels": [
             {"kernel": "k", "block": "16x1", "dtype": "f32", "m": 4, "k": 8, "n": 1, "sparsity": 0.5,
              "threads": 2, "gflops_nonzero": 3.5, "speedup_vs_dense": 1.5}]})");
  const KernelResults machine = read_machine(folder / "machine.json");
  CHECK(machine.machine.processor == "P");
  CHECK(machine.machine.threads == 2);
  REQUIRE(machine.kernels.size() == 1);
  CHECK(machine.kernels[0].gflops_nonzero == 3.5);
  CHECK(refusal("[]").find("\"kernels\"") != std::string::npos);
  CHECK(refusal(R"({"kernels": [7]})").find("kernels[0]") != std::string::npos);
  CHECK(refusal(R"({"kernels": [{"kernel": "k", "block": "0x1"}]})").find("kernels[0].block") !=
        std::string::npos);
  CHECK(refusal(R"({"kernels": [{"kernel": "k", "block": "1x1", "dtype": "f32", "m": 0}]})")
            .find("kernels[0].m") != std::string::npos);
}

}  // namespace
}  // namespace espalier
