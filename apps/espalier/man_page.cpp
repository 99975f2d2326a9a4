#include "apps/espalier/man_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace espalier {
namespace {

// As text that roff prints as it is: backslashes, dashes that are to stay dashes, and what would be
// a request at the begin of a line.
std::string roff(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      const bool request = (c == '.' || c == '\'') && (result.empty() || result.back() == '\n');
      if (request) result += "\\&";
      result += c;
    }
  }
  return result;
}

std::string page_name(std::string name) {
  std::ranges::replace(name, ' ', '-');
  return name;
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

std::string synopsis(const CommandInfo& command) {
  std::string text = fmt::format(".SH SYNOPSIS\n.B {}\n", roff(command.name));
  if (!command.subcommands.empty()) return text + ".I SUBCOMMAND\n[options]\n";
  for (const OptionInfo& option : command.options) {
    if (!option.positional) continue;
    const std::string dots = option.repeatable ? " ..." : "";
    text += option.required ? fmt::format(".I {}{}\n", roff(option.names[0]), dots)
                            : fmt::format("[\\fI{}\\fR{}]\n", roff(option.names[0]), dots);
  }
  return text + "[options]\n";
}

std::string option_text(const OptionInfo& option) {
  std::string names;
  for (const std::string& name : option.names)
    names += fmt::format("{}\\fB{}\\fR", names.empty() ? "" : ", ", roff(name));
  if (!option.type.empty() && !option.positional)
    names += fmt::format(" \\fI{}\\fR", roff(option.type));
  return fmt::format(".TP\n{}\n{}\n", names, roff(option.help));
}

// Options by their group, in the order of --help; positional ones are the arguments.
std::string options(const CommandInfo& command) {
  std::vector<std::string> groups;
  std::string arguments;
  for (const OptionInfo& option : command.options) {
    if (option.positional) {
      arguments += option_text(option);
    } else if (std::ranges::count(groups, option.group) == 0) {
      groups.push_back(option.group);
    }
  }
  std::string text = arguments.empty() ? "" : ".SH ARGUMENTS\n" + arguments;
  text += ".SH OPTIONS\n";
  for (const std::string& group : groups) {
    if (group != "Options") text += fmt::format(".SS {}\n", roff(group));
    for (const OptionInfo& option : command.options) {
      if (!option.positional && option.group == group) text += option_text(option);
    }
  }
  return text;
}

std::string subcommands(const CommandInfo& command) {
  if (command.subcommands.empty()) return "";
  std::string text = ".SH COMMANDS\n";
  for (const CommandInfo& sub : command.subcommands)
    text += fmt::format(".TP\n\\fB{}\\fR(1)\n{}\n", roff(page_name(sub.name)), roff(sub.help));
  return text;
}

// "Example:" with its lines and "Exit codes: ..." below the options of --help.
std::string footer(const CommandInfo& command) {
  static const std::string kExample = "Example:\n", kCodes = "Exit codes: ";
  std::string text;
  const size_t example = command.footer.find(kExample), codes = command.footer.find(kCodes);
  if (example != std::string::npos) {
    const size_t begin = example + kExample.size();
    const std::string lines =
        command.footer.substr(begin, command.footer.find("\n\n", begin) - begin);
    text += fmt::format(".SH EXAMPLES\n.nf\n{}\n.fi\n", roff(lines));
  }
  if (codes != std::string::npos)
    text +=
        fmt::format(".SH EXIT STATUS\n{}\n", roff(command.footer.substr(codes + kCodes.size())));
  return text;
}

}  // namespace

std::string man_page(const CommandInfo& command) {
  return fmt::format(".TH {} 1 \"\" \"espalier {}\" \"\"\n.SH NAME\n{} \\- {}\n",
                     upper(page_name(command.name)), ESPALIER_VERSION,
                     roff(page_name(command.name)), roff(command.help)) +
         synopsis(command) + subcommands(command) + options(command) + footer(command);
}

}  // namespace espalier
