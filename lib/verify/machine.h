#pragma once

#include <cstddef>
#include <string>

namespace espalier {

/// Processor model, instruction set in use and threads, for reports.
struct Machine {
  std::string processor, simd;
  size_t threads = 1;
};
Machine this_machine(size_t threads);

}  // namespace espalier
