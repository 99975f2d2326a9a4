#include "apps/espalier/wrong_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/nearest_name.h"

namespace espalier {
namespace {

// The subcommand that the line named, `mask apply` rather than `mask`.
const CLI::App& deepest(const CLI::App& app) {
  const std::vector<CLI::App*> named = app.get_subcommands();
  return named.empty() ? app : deepest(*named.front());
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) names.push_back(sub->get_name());
  return names;
}

}  // namespace

std::string unknown_subcommand_text(const CLI::App& app, std::string_view name) {
  const std::vector<std::string> names = subcommand_names(app);
  return fmt::format("unknown subcommand {}, expected one of {}{}", printable(name),
                     fmt::join(names, ", "), did_you_mean(name, names));
}

std::string wrong_line_text(const CLI::App& app, const CLI::ParseError& error,
                            std::string_view first) {
  const CLI::App& command = deepest(app);
  const std::vector<std::string> left = app.remaining(true);
  const auto option = std::ranges::find_if(
      left, [](const std::string& text) { return text.size() > 1 && text.starts_with('-'); });
  if (option != left.end()) {
    const std::string name = option->substr(0, option->find('='));
    return fmt::format("unknown option {} of {}{} (see --help)", printable(name),
                       command.get_name(), did_you_mean(name, option_names(command)));
  }
  const bool has_subcommands = !subcommand_names(command).empty();
  if (has_subcommands && !left.empty()) return unknown_subcommand_text(command, left.front());
  if (has_subcommands && &command == &app && !first.empty() && first[0] != '-')
    return unknown_subcommand_text(app, first);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !left.empty())
    return fmt::format("unexpected argument {} (see --help)", printable(left.front()));
  std::string text = error.what();
  std::ranges::replace(text, '\n', ' ');
  return text + " (see --help)";
}

}  // namespace espalier
