#include <fmt/format.h>

#include "lib/report/sections/machine.h"

namespace espalier {
namespace {

// bench --kernels.
void add(const Results& results, Report& report) {
  if (!results.kernels) return;
  add_machine(results.kernels->machine, report);
  report.parts.emplace_back(Record{"limits", {{"peak_gflops", results.kernels->peak_gflops}}});
  report.head.push_back(fmt::format("multiply-adds in registers: {} GFLOP/s",
                                    format_number(results.kernels->peak_gflops)));
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
               {"speedup_vs_dense", "over dense", Unit::kRatio},
               {"share_of_limit", "of limit", Unit::kShare},
               {"limit", "limit"}},
              {},
              {}};
  for (const KernelResult& k : results.kernels->kernels) {
    table.rows.push_back({k.kernel, k.block, count_cell(k.m), count_cell(k.k), count_cell(k.n),
                          k.sparsity, k.dtype, count_cell(k.threads), k.gflops_nonzero,
                          k.speedup_vs_dense, k.share_of_limit, cell_or_null(k.limit)});
  }
  report.parts.emplace_back(std::move(table));
}

}  // namespace

constinit const Section kernels_section{"kernels", add};

}  // namespace espalier
