#pragma once

#include <functional>
#include <span>
#include <string_view>

namespace CLI {
class App;
}

namespace espalier {

/// Exit codes, as docs/cli.md promises them.
enum ExitCode { kDone = 0, kFailed = 1, kWrongUsage = 2, kOutOfTolerance = 3 };

/// One subcommand. `add` declares its options and gives what runs it once they are parsed.
struct Command {
  std::string_view name, summary;
  std::function<int()> (*add)(CLI::App& app);
};

#define ESPALIER_COMMAND(name) extern constinit const Command name##_command;
#include "apps/espalier/commands.def"

std::span<const Command* const> commands();

}  // namespace espalier
