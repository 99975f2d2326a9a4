#include "apps/espalier/program.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <new>
#include <system_error>
#include <utility>
#include <vector>

#include "apps/espalier/command.h"
#include "apps/espalier/common_options.h"
#include "apps/espalier/version.h"
#include "apps/espalier/wrong_line.h"
#include "lib/base/error.h"
#include "lib/base/limits.h"

namespace espalier {
namespace {

int fail(std::string_view text, ExitCode code) {
  constexpr size_t kLongest = 900;  // one line that a terminal still shows whole
  fmt::print(stderr, "error: {}\n", printable(text, kLongest));
  return code;
}

constexpr std::string_view kNoMemory = "out of memory";

// CLI11 asks for --help by an exception.
int parse_failed(const CLI::App& app, const CLI::ParseError& error, const char* first) {
  if (error.get_exit_code() == 0) return app.exit(error);
  throw Error(Fault::kUsage, wrong_line_text(app, error, first == nullptr ? "" : first));
}

// As --help and --version do it: parsing ends there.
struct PrintLimits : CLI::Success {
  PrintLimits() : CLI::Success("PrintLimits", "", CLI::ExitCodes::Success) {}
};

std::string limits_text() {
  std::string text;
  for (const Limit& limit : all_limits())
    text += fmt::format("{:<24}{:>11} {:<12}{}\n", limit.name, limit.value, limit.unit, limit.what);
  return text;
}

thread_local std::span<const char* const> line;

// Puts the words of a line in place while it runs.
class ScopedLine {
 public:
  explicit ScopedLine(std::span<const char* const> words) : outer_(std::exchange(line, words)) {}
  ~ScopedLine() { line = outer_; }
  ScopedLine(const ScopedLine&) = delete;
  ScopedLine& operator=(const ScopedLine&) = delete;

 private:
  std::span<const char* const> outer_;
};

struct Entry {
  CLI::App* app;
  std::function<int()> run;
};

}  // namespace

std::span<const char* const> words_of_line() { return line; }

// Builds the command line from the list of commands, parses it and runs the chosen one.
int run_line(int argc, const char* const* argv) {
  const ScopedLine words({argv, static_cast<size_t>(argc)});
  CLI::App app("Prunes neural networks in blocks, and packs, runs and verifies the result.",
               "espalier");
  app.set_version_flag("--version", version_text());
  app.add_flag_callback(
         "--limits", [] { throw PrintLimits(); },
         "Print how much input may request before it is refused, and exit")
      ->configurable(false);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  app.footer("espalier SUBCOMMAND --help lists its options and shows an example.");
  std::vector<Entry> entries;
  for (const Command* command : commands()) {
    CLI::App* sub = app.add_subcommand(std::string(command->name), std::string(command->summary));
    entries.push_back({sub, command->add(*sub)});
  }
  try {
    app.parse(argc, argv);
  } catch (const PrintLimits&) {
    print(limits_text());
    return kDone;
  } catch (const CLI::ParseError& error) {
    return parse_failed(app, error, argc > 1 ? argv[1] : nullptr);
  }
  for (const Entry& entry : entries) {
    if (entry.app->parsed()) return entry.run();
  }
  return kWrongUsage;
}

int run_program(int argc, const char* const* argv) {
  try {
    return run_line(argc, argv);
  } catch (const Error& error) {
    return fail(error.what(), error.fault() == Fault::kUsage ? kWrongUsage : kFailed);
  } catch (const std::bad_alloc&) {
    return fail(kNoMemory, kFailed);
  } catch (const std::system_error& error) {
    // What a thread without room for its stack says.
    const bool memory = error.code() == std::errc::resource_unavailable_try_again ||
                        error.code() == std::errc::not_enough_memory;
    return fail(memory ? kNoMemory : error.what(), kFailed);
  } catch (const std::exception& error) {
    return fail(error.what(), kFailed);
  }
}

}  // namespace espalier
