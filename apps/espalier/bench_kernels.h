#pragma once

#include <string>
#include <vector>

#include "apps/espalier/common_options.h"

namespace espalier {

/// Lists as the command line gives them; empty ones are filled in.
struct KernelBenchOptions {
  std::vector<std::string> shapes, samples, blocks, sparsities, values;
};

/// Times each kernel on random weights against the dense product, `seconds` per row.
/// Errors  Fault::kUsage for a shape, number or type that cannot be measured.
KernelResults bench_kernels(const KernelBenchOptions& options, double seconds,
                            const CommonOptions& common);

}  // namespace espalier
