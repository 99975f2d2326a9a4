// Every sparse kernel against oneDNN's packed dense product of the same shape, in turns within one
// run, so that both see the same machine. Names: kernel/block/MxK/zeros/n/layout/threads. Counters:
//   ratio      dense time over sparse time (the best of each)
//   gflops_nz  2 * stored values * n over the sparse time
//   dense      2 * M * K * n over the dense time, in GFLOP/s
//
//   kernels_bench --benchmark_filter='16x1/.*/1152x384/zeros90/n4/'
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "lib/kernels/dense/dense.h"
#include "lib/kernels/scratch.h"
#include "lib/kernels/simd_target.h"
#include "lib/kernels/sparse_product.h"
#include "tests/bench/block_cases.h"

namespace espalier {
namespace {

struct Setting {
  const SparseKernel* kernel;
  BlockShape block;
  size_t m, k;
  int zeros;  // percent
  size_t n;
  Features features;
  size_t threads;
};

void run(benchmark::State& state, const Setting& s) {
  const SparseMatrix matrix = random_blocks(s.block, s.m, s.k, s.zeros);
  const auto sparse = s.kernel->prepare(matrix);
  const auto dense = prepare_dense(random_values(s.m * s.k).data(), s.m, s.k);
  Scratch x_memory, y_memory;  // begin at lines, as tensors of the runtime do
  float* const x = x_memory.floats(s.k * s.n);
  float* const y = y_memory.floats(s.m * s.n);
  std::ranges::copy(random_values(s.k * s.n), x);
  ThreadPool pool(s.threads);
  const auto call = [&](const Product& product) {
    product.run(x, s.features, s.n, nullptr, y, pool);
  };
  for (size_t warm = 0; warm < 3; ++warm) {
    call(*dense);
    call(*sparse);
  }
  Stopwatch sparse_time, dense_time;
  for (auto _ : state) {
    call(*dense);  // its weights are in the cache again, as if it ran alone
    dense_time([&] { call(*dense); });
    call(*sparse);
    state.SetIterationTime(sparse_time([&] { call(*sparse); }));
  }
  const double n = static_cast<double>(s.n), sparse_seconds = sparse_time.best();
  const double stored = static_cast<double>(matrix.values.count());
  const double all = static_cast<double>(s.m * s.k);
  state.counters["ratio"] = dense_time.best() / sparse_seconds;
  state.counters["gflops_nz"] = 2e-9 * stored * n / sparse_seconds;
  state.counters["dense"] = 2e-9 * all * n / dense_time.best();
}

std::string name_of(const Setting& s) {
  return fmt::format("{}/{}/{}x{}/zeros{}/n{}/{}/threads{}", s.kernel->name, to_string(s.block),
                     s.m, s.k, s.zeros, s.n, s.features == Features::kInner ? "inner" : "outer",
                     s.threads);
}

void add(const Setting& setting) {
  benchmark::RegisterBenchmark(name_of(setting).c_str(), run, setting)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond)
      ->MinTime(0.05);
}

// The shapes of two GRU steps, then those that sparse libraries are compared on.
constexpr size_t kShapes[][2] = {{576, 192}, {576, 128},  {1152, 384},
                                 {768, 768}, {3072, 768}, {4096, 4096}};

void add_kernel(const SparseKernel* kernel, BlockShape block) {
  for (const auto& [m, k] : kShapes)
    for (const int zeros : {50, 75, 90, 95})
      for (const size_t n : {1, 4, 8, 16, 64, 256})
        for (const Features features : {Features::kInner, Features::kOuter})
          for (const size_t threads : {1, 2})
            add({kernel, block, m, k, zeros, n, features, threads});
}

void add_all() {
  for (const SparseKernel* kernel : sparse_kernels()) {
    if (kernel->block != BlockShape{0, 0}) {
      add_kernel(kernel, kernel->block);
      continue;
    }
    if (!kernel->exact) continue;  // of f32 weights
    for (const BlockShape block : {BlockShape{1, 1}, BlockShape{1, 4}, BlockShape{4, 4}})
      add_kernel(kernel, block);
    for (const SparseKernel* other : sparse_kernels())
      if (other->block != BlockShape{0, 0}) add_kernel(kernel, other->block);
  }
}

}  // namespace
}  // namespace espalier

// kernels_bench [--simd=NAME] [options of Google Benchmark]
int main(int argc, char** argv) {
  constexpr std::string_view kSimd = "--simd=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!argument.starts_with(kSimd)) continue;
    espalier::set_simd_target(argument.substr(kSimd.size()));
    std::copy(argv + i + 1, argv + argc, argv + i);
    --argc;
  }
  espalier::add_all();
  benchmark::AddCustomContext("instruction set", espalier::simd_target());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
