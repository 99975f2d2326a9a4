#include "apps/espalier/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lib/base/error.h"

namespace espalier {
namespace {

// Every command with its path without the program's name ("mask apply"); "" is the program itself.
void flatten(const CommandInfo& command, const std::string& path,
             std::vector<std::pair<std::string, const CommandInfo*>>& all) {
  all.emplace_back(path, &command);
  for (const CommandInfo& sub : command.subcommands) {
    const std::string word = sub.name.substr(sub.name.rfind(' ') + 1);
    flatten(sub, path.empty() ? word : path + " " + word, all);
  }
}

std::vector<std::pair<std::string, const CommandInfo*>> flat(const CommandInfo& root) {
  std::vector<std::pair<std::string, const CommandInfo*>> all;
  flatten(root, "", all);
  return all;
}

std::vector<std::string> words_of(const CommandInfo& command) {
  std::vector<std::string> words;
  for (const CommandInfo& sub : command.subcommands)
    words.push_back(sub.name.substr(sub.name.rfind(' ') + 1));
  return words;
}

std::vector<std::string> option_names(const CommandInfo& command) {
  std::vector<std::string> names;
  for (const OptionInfo& option : command.options) {
    if (!option.positional) names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return names;
}

// The first sentence part of a help text, without what a shell would read as its own.
std::string plain(std::string text) {
  std::erase_if(text, [](char c) { return c == '\'' || c == '"' || c == '`' || c == '\\'; });
  std::ranges::replace(text, '[', '(');
  std::ranges::replace(text, ']', ')');
  return text;
}

// ---- bash: words before the cursor say which command it is; case tables say what may follow.

// For bash-completion: what may follow each command and option, as case tables of one function.
std::string bash_script(const CommandInfo& root) {
  std::string words, values;
  for (const auto& [path, command] : flat(root)) {
    std::vector<std::string> all = words_of(*command);
    const std::vector<std::string> options = option_names(*command);
    all.insert(all.end(), options.begin(), options.end());
    words += fmt::format("    '{}') words='{}' ;;\n", path, fmt::join(all, " "));
    for (const OptionInfo& option : command->options) {
      for (const std::string& name : option.names) {
        if (!option.values.empty())
          values += fmt::format("    '{} {}') words='{}' ;;\n", path, name,
                                fmt::join(option.values, " "));
        else if (!option.type.empty() && !option.positional)
          values += fmt::format("    '{} {}') words= ;;\n", path, name);
      }
    }
  }
  std::string commands;
  for (const auto& [path, command] : flat(root)) {
    if (!path.empty()) commands += fmt::format("    '{}') path=\"$next\" ;;\n", path);
  }
  return fmt::format(R"(# bash completion of espalier: source <(espalier completion bash)
_espalier() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" path= next= words= i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    next="${{path:+$path }}${{COMP_WORDS[i]}}"
    case "$next" in
{}    esac
  done
  COMPREPLY=()
  case "$path $before" in
{}    *) case "$path" in
{}    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -o bashdefault -F _espalier espalier
)",
                     commands, values, words);
}

// ---- zsh: one function for each command, given to _arguments.

std::string zsh_option(const OptionInfo& option) {
  std::string value;
  if (!option.type.empty()) {
    const std::string choice =
        option.values.empty() ? "_files" : fmt::format("({})", fmt::join(option.values, " "));
    value = fmt::format(":{}:{}", plain(option.type), choice);
    std::ranges::replace(value, '=', ' ');
  }
  // A colon in a help text would end it.
  std::string help = plain(option.help);
  for (size_t i = help.find(':'); i != std::string::npos; i = help.find(':', i + 2))
    help.insert(i, "\\");
  std::string lines;
  for (const std::string& name : option.names)
    lines += fmt::format("    '*{}[{}]{}' \\\n", name, help, value);
  return lines;
}

std::string zsh_name(const std::string& path) {
  std::string name = "_espalier";
  if (!path.empty()) name += "_" + path;
  std::ranges::replace(name, ' ', '_');
  return name;
}

// One function per command, whose arguments are in the form of _arguments.
std::string zsh_script(const CommandInfo& root) {
  std::string text =
      "#compdef espalier\n# zsh completion of espalier: a file _espalier in $fpath\n";
  for (const auto& [path, command] : flat(root)) {
    text += fmt::format("{}() {{\n  local curcontext=\"$curcontext\" state line\n", zsh_name(path));
    text += "  _arguments -C -s \\\n";
    for (const OptionInfo& option : command->options) {
      if (!option.positional) text += zsh_option(option);
    }
    if (command->subcommands.empty()) {
      text += "    '*:file:_files'\n}\n";
      continue;
    }
    text += "    '1:command:->command' '*::argument:->argument'\n  case $state in\n";
    text += "    command) local -a names=(\n";
    for (const CommandInfo& sub : command->subcommands)
      text +=
          fmt::format("      '{}:{}'\n", sub.name.substr(sub.name.rfind(' ') + 1), plain(sub.help));
    text += "    ); _describe command names ;;\n    argument) case $line[1] in\n";
    for (const std::string& word : words_of(*command))
      text +=
          fmt::format("      {}) {} ;;\n", word, zsh_name(path.empty() ? word : path + " " + word));
    text += "    esac ;;\n  esac\n}\n";
  }
  // Once as a file that zsh loads at the first completion, once read by `source`.
  return text +
         "if [ \"$funcstack[1]\" = _espalier ]; then _espalier \"$@\"; "
         "else compdef _espalier espalier; fi\n";
}

// ---- fish: one line for each word, with the words before it as its condition.

std::string fish_condition(const std::string& path, const CommandInfo& command) {
  std::string condition;
  if (path.empty()) return "__fish_use_subcommand";
  for (size_t begin = 0; begin != std::string::npos;) {
    const size_t end = path.find(' ', begin);
    condition += fmt::format("{}__fish_seen_subcommand_from {}", condition.empty() ? "" : "; and ",
                             path.substr(begin, end - begin));
    begin = end == std::string::npos ? end : end + 1;
  }
  const std::vector<std::string> words = words_of(command);
  if (!words.empty())
    condition += fmt::format("; and not __fish_seen_subcommand_from {}", fmt::join(words, " "));
  return condition;
}

std::string fish_option(const OptionInfo& option) {
  std::string text;
  for (const std::string& name : option.names)
    text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  if (!option.values.empty())
    text += fmt::format(" -x -a '{}'", fmt::join(option.values, " "));
  else if (!option.type.empty())
    text += " -r";
  return text + fmt::format(" -d '{}'", plain(option.help));
}

std::string fish_script(const CommandInfo& root) {
  std::string text = "# fish completion of espalier: espalier completion fish | source\n";
  for (const auto& [path, command] : flat(root)) {
    const std::string condition = fish_condition(path, *command);
    for (const CommandInfo& sub : command->subcommands)
      text += fmt::format("complete -c espalier -n '{}' -f -a {} -d '{}'\n", condition,
                          sub.name.substr(sub.name.rfind(' ') + 1), plain(sub.help));
    for (const OptionInfo& option : command->options) {
      if (!option.positional)
        text += fmt::format("complete -c espalier -n '{}'{}\n", condition, fish_option(option));
    }
  }
  return text;
}

struct Shell {
  std::string_view name;
  std::string (*script)(const CommandInfo& root);
};
constexpr std::array kShells{Shell{"bash", bash_script}, Shell{"zsh", zsh_script},
                             Shell{"fish", fish_script}};

}  // namespace

std::vector<std::string> completion_shells() {
  std::vector<std::string> names;
  for (const Shell& shell : kShells) names.emplace_back(shell.name);
  return names;
}

std::string completion_script(const CommandInfo& root, std::string_view shell) {
  const auto found = std::ranges::find(kShells, shell, &Shell::name);
  if (found == kShells.end()) {
    throw Error(Fault::kUsage, fmt::format("shell is '{}', expected: {}", printable(shell),
                                           fmt::join(completion_shells(), ", ")));
  }
  return found->script(root);
}

}  // namespace espalier
