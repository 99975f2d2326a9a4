#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace espalier {

/// An option as --help shows it.
struct OptionInfo {
  std::vector<std::string> names;  ///< "-o", "--output"; of a positional one: its name alone
  std::string type;                ///< what its value is called; empty: it takes none
  std::string help, group;
  bool positional = false, required = false, repeatable = false;
  /// What it can be set to, where that is checked or its help lists it.
  std::vector<std::string> values;
};

/// A command with its options: all that completions, man pages and `help` know.
struct CommandInfo {
  std::string name;  ///< with those above it: "espalier mask apply"
  std::string help, footer;
  std::vector<OptionInfo> options;
  std::vector<CommandInfo> subcommands;
};

/// The command and all below it, in the order of --help.
CommandInfo describe(const CLI::App& app, const std::string& above = "");

/// The outermost command that `app` is below.
const CLI::App& root_of(const CLI::App& app);

/// A command and the names of those above it ("espalier mask" of "apply").
struct NamedCommand {
  const CLI::App* app;
  std::string above;
};

/// The command that `words` lead to from `root`.
/// Errors  Fault::kUsage: there is none of that name.
NamedCommand command_named(const CLI::App& root, const std::vector<std::string>& words);

}  // namespace espalier
