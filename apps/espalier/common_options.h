#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "lib/report/results.h"

namespace CLI {
class App;
}

namespace espalier {

/// What every subcommand takes.
struct CommonOptions {
  bool verbose = false, quiet = false;
  size_t threads = 0;  ///< 0: all processors
  std::string simd;
  uint64_t seed = 0;
  std::string json, html, markdown, csv;  ///< files for the report; "-" is stdout
};

/// Declares -v, -q, --threads, --simd and --seed, and --json, --html, --md, --csv for a command
/// that `reports`.
void add_common(CLI::App& app, CommonOptions& options, bool reports = true);

/// Puts the options into force: how much is logged, which instruction set.
void apply_common(const CommonOptions& options);

/// The example and the exit codes below the options of --help.
void add_footer(CLI::App& app, std::string_view example);

/// Prints the table, or what goes to "-" in its place, and writes the report's files.
void emit(const Results& results, const CommonOptions& options);
/// `width`: columns of text; 0 are those of the terminal.
void emit(const Report& report, const CommonOptions& options, size_t width = 0);

/// Writes to stdout. A reader that has gone away is no error.
/// Errors  Fault::kFormat: the output cannot be written (a full disk).
void print(std::string_view text);

}  // namespace espalier
