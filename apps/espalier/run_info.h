#pragma once

#include "apps/espalier/command_files.h"
#include "lib/report/results.h"

namespace espalier {

/// How this run came about: program, line, machine, time, and the digests of what `files` reads,
/// which are taken only where a report that shows them is asked for. Made before anything is
/// written, which may replace what is read.
RunInfo run_info(const CommandFiles& files, const CommonOptions& common);

/// SHA-256 of one file's bytes; of several, that of the lines "DIGEST  NAME" which sha256sum prints
/// of them in the order of their names, paths relative to the folder that holds the first. Empty
/// where there are none.
std::string digest_of(std::vector<std::filesystem::path> files);

}  // namespace espalier
