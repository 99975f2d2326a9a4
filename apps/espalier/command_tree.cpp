#include "apps/espalier/command_tree.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

#include "apps/espalier/wrong_line.h"
#include "lib/base/error.h"

namespace espalier {
namespace {

bool is_word(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-';
  });
}

// The words of "keep, prune", "f32, f16 or i8"; none where that is a sentence.
std::vector<std::string> words_in(std::string text) {
  for (const std::string_view last : {" or ", " and "}) {
    if (const size_t at = text.rfind(last); at != std::string::npos)
      text.replace(at, last.size(), ",");
  }
  std::vector<std::string> words;
  for (std::string word : CLI::detail::split(text, ',')) {
    CLI::detail::trim(word);
    if (!is_word(word)) return {};
    words.push_back(std::move(word));
  }
  return words.size() > 1 ? words : std::vector<std::string>{};
}

// What an option can be set to: what is checked ("D:{keep,prune}" in the type), else a list before
// or after the colon of its help: "l1, l2: criterion ...", "type of the values: f32 or f16 (f32)".
std::vector<std::string> values_in(const std::string& type, const std::string& help) {
  const size_t open = type.find('{'), close = type.find('}');
  if (open != std::string::npos && close != std::string::npos)
    return CLI::detail::split(type.substr(open + 1, close - open - 1), ',');
  const size_t colon = help.find(": ");
  if (colon == std::string::npos) return {};
  std::vector<std::string> words = words_in(help.substr(0, colon));
  if (!words.empty()) return words;
  const size_t end = help.find(" (", colon);
  return words_in(help.substr(colon + 2, end == std::string::npos ? end : end - colon - 2));
}

OptionInfo info_of(const CLI::Option& option) {
  OptionInfo info;
  for (const std::string& name : option.get_snames()) info.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) info.names.push_back("--" + name);
  info.positional = option.get_positional() && info.names.empty();
  if (info.positional) info.names.push_back(option.get_name(true));
  const bool takes_value = option.get_items_expected_max() > 0;
  const std::string type = option.get_type_name();
  info.type = takes_value ? type.substr(0, type.find(":{")) : "";
  if (takes_value && info.type.empty()) info.type = "VALUE";
  info.help = option.get_description();
  info.group = option.get_group();
  info.required = option.get_required();
  info.repeatable = option.get_items_expected_max() > 1;
  if (takes_value) info.values = values_in(type, info.help);
  return info;
}

}  // namespace

CommandInfo describe(const CLI::App& app, const std::string& above) {
  CommandInfo info;
  info.name = above.empty() ? app.get_name() : above + " " + app.get_name();
  info.help = app.get_description();
  info.footer = app.get_footer();
  for (const CLI::Option* option : app.get_options()) info.options.push_back(info_of(*option));
  for (const CLI::App* sub : app.get_subcommands(nullptr))
    info.subcommands.push_back(describe(*sub, info.name));
  return info;
}

const CLI::App& root_of(const CLI::App& app) {
  return app.get_parent() == nullptr ? app : root_of(*app.get_parent());
}

NamedCommand command_named(const CLI::App& root, const std::vector<std::string>& words) {
  NamedCommand named{&root, ""};
  for (const std::string& word : words) {
    const auto subcommands = named.app->get_subcommands(nullptr);
    const auto found = std::ranges::find(subcommands, word, &CLI::App::get_name);
    if (found == subcommands.end())
      throw Error(Fault::kUsage, unknown_subcommand_text(*named.app, word));
    named.above += (named.above.empty() ? "" : " ") + named.app->get_name();
    named.app = *found;
  }
  return named;
}

}  // namespace espalier
