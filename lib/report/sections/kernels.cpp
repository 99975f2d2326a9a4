#include "lib/report/sections/machine.h"

namespace espalier {
namespace {

// bench --kernels.
void add(const Results& results, Report& report) {
  if (!results.kernels) return;
  add_machine(results.kernels->machine, report);
  Table table{"kernels",
              "",
              {{"kernel", "kernel"},
               {"block", "block"},
               {"m", "m", Unit::kCount},
               {"k", "k", Unit::kCount},
               {"n", "n", Unit::kCount},
               {"sparsity", "sparsity", Unit::kNumber},
               {"dtype", "type"},
               {"threads", "threads", Unit::kCount},
               {"gflops_nonzero", "GFLOP/s", Unit::kNumber},
               {"speedup_vs_dense", "over dense", Unit::kRatio}},
              {},
              {}};
  for (const KernelResult& k : results.kernels->kernels) {
    table.rows.push_back({k.kernel, k.block, count_cell(k.m), count_cell(k.k), count_cell(k.n),
                          k.sparsity, k.dtype, count_cell(k.threads), k.gflops_nonzero,
                          k.speedup_vs_dense});
  }
  report.parts.emplace_back(std::move(table));
}

}  // namespace

constinit const Section kernels_section{"kernels", add};

}  // namespace espalier
