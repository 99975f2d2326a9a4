#include <CLI/CLI.hpp>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_tree.h"
#include "apps/espalier/common_options.h"

namespace espalier {
namespace {

std::string help_of(const CLI::App& root, const std::vector<std::string>& words) {
  const NamedCommand named = command_named(root, words);
  const std::string name = named.above + (named.above.empty() ? "" : " ") + named.app->get_name();
  return named.app->get_formatter()->make_help(named.app, name, CLI::AppFormatMode::Normal);
}

std::function<int()> add(CLI::App& app) {
  auto words = std::make_shared<std::vector<std::string>>();
  app.add_option("COMMAND", *words, "command, or command and subcommand; none: all commands");
  add_footer(app, "  espalier help prune\n  espalier help mask apply");
  return [words, &app] {
    print(help_of(root_of(app), *words));
    return static_cast<int>(kDone);
  };
}

}  // namespace

constinit const Command help_command{"help", "show the options of a command, as its --help does",
                                     add};

}  // namespace espalier
