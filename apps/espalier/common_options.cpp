#include "apps/espalier/common_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "apps/espalier/program.h"
#include "apps/espalier/terminal.h"
#include "lib/base/limits.h"
#include "lib/base/log.h"
#include "lib/base/output_file.h"
#include "lib/kernels/simd_target.h"

namespace espalier {
namespace {

thread_local std::string* printed = nullptr;  // null: stdout

}  // namespace

ScopedPrint::ScopedPrint(std::string& text) : outer_(std::exchange(printed, &text)) {}
ScopedPrint::~ScopedPrint() { printed = outer_; }

void add_common(CLI::App& app, CommonOptions& options, bool reports) {
  app.add_flag("-v,--verbose", options.verbose, "print stages and their times on stderr")
      ->group("Common");
  app.add_flag("-q,--quiet", options.quiet, "print no table and no warnings")->group("Common");
  app.add_option("--threads", options.threads, "number of threads (0: all processors)")
      ->type_name("N")
      ->group("Common");
  app.add_option("--simd", options.simd, "instruction set of the kernels (the best available)")
      ->type_name("NAME")
      ->group("Common");
  app.add_option("--seed", options.seed, "seed of all random numbers (0)")
      ->type_name("N")
      ->group("Common");
  if (!reports) return;
  const auto file = [&](const char* name, std::string& target, const char* what) {
    app.add_option(name, target, what)->type_name("FILE")->group("Report");
  };
  file("--json", options.json,
       "write the report as JSON; - writes it to stdout instead of the table");
  file("--html", options.html, "write the report as one HTML page");
  file("--md", options.markdown, "write the report as Markdown");
  file("--csv", options.csv, "write the tables as CSV");
}

void apply_common(const CommonOptions& options) {
  set_log_level(options.quiet     ? LogLevel::kQuiet
                : options.verbose ? LogLevel::kVerbose
                                  : LogLevel::kNormal);
  if (options.threads > limits::threads) {
    throw Error(Fault::kUsage,
                fmt::format("--threads {}: expected at most {}", options.threads, limits::threads));
  }
  if (!options.simd.empty()) set_simd_target(options.simd);
}

void add_footer(CLI::App& app, std::string_view example) {
  app.footer(
      fmt::format("Example:\n{}\n\nExit codes: 0 success, 1 input or output failed, 2 wrong "
                  "command line, 3 out of tolerance.",
                  example));
}

void print(std::string_view text) {
  if (printed != nullptr) {
    printed->append(text);
    return;
  }
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EPIPE) {
      return;
    } else if (errno != EINTR) {
      throw Error(Fault::kFormat, fmt::format("standard output: {}", std::strerror(errno)));
    }
  }
}

void emit(const Results& results, const CommonOptions& options) {
  emit(make_report(results), options);
}

void emit(const Report& report, const CommonOptions& options, size_t width) {
  RenderOptions render = terminal_options();
  if (width != 0) render.width = width;
  bool printed = false;
  for (const auto& [name, file] :
       {std::pair("json", options.json), std::pair("html", options.html),
        std::pair("markdown", options.markdown), std::pair("csv", options.csv)}) {
    if (file.empty()) continue;
    const std::string text = find_renderer(name)->render(report, render);
    if (file == "-") {
      print(text);
      printed = true;
    } else {
      write_file(file, as_bytes(text));
    }
  }
  if (!printed && !options.quiet) print(find_renderer("text")->render(report, render));
}

}  // namespace espalier
