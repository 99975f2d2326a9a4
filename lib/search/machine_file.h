#pragma once

#include <filesystem>

#include "lib/report/results.h"

namespace espalier {

/// A measurement by `bench --kernels --json`.
/// Errors  Fault::kFormat naming file, key and what was expected.
KernelResults read_machine(const std::filesystem::path& path);

}  // namespace espalier
