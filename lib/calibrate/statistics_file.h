#pragma once

#include <filesystem>

#include "lib/calibrate/kept_inputs.h"
#include "lib/prune/score/statistics.h"

namespace espalier {

/// The file of `espalier calibrate`: a safetensors file with a checksum. Written whole, by rename.
/// Source  docs/formats/statistics.md.
void write_statistics(const std::filesystem::path& path, const Statistics& statistics,
                      const KeptInputs& inputs = {});

struct StatisticsFile {
  Statistics statistics;
  KeptInputs inputs;
};

/// Both as written. Tensors refer to the mapped file.
/// Errors  Fault::kFormat naming the file and what is wrong: no such file, another version, sizes
/// that do not fit each other or the file, a checksum that is not that of the bytes.
StatisticsFile read_statistics_file(const std::filesystem::path& path);
Statistics read_statistics(const std::filesystem::path& path);

/// Whether the file begins like one of these, whatever follows. False for folders.
bool is_statistics_file(const std::filesystem::path& path);

}  // namespace espalier
