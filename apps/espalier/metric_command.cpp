#include "apps/espalier/metric_command.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <charconv>

#include "apps/espalier/shell.h"
#include "lib/base/error.h"

namespace espalier {
namespace {

std::string filled_in(std::string command, const std::string& path) {
  static constexpr std::string_view kPlace = "{model}";
  size_t place = command.find(kPlace);
  if (place == std::string::npos)
    throw Error(Fault::kUsage, "--metric-cmd: the command does not contain {model}");
  const std::string quoted = shell_quoted(path);
  for (; place != std::string::npos; place = command.find(kPlace, place + quoted.size()))
    command.replace(place, kPlace.size(), quoted);
  return command;
}

}  // namespace

double run_metric_command(const std::string& command, const std::filesystem::path& model) {
  const std::string line = filled_in(command, model.string());
  const ShellOutcome outcome = run_shell(line, "--metric-cmd");
  const auto fail = [&](const std::string& why) {
    const std::string said = last_line(outcome.err);
    return Error(Fault::kFormat, fmt::format("--metric-cmd {}: {}{}", printable(line, 300), why,
                                             said.empty() ? "" : "; " + printable(said, 300)));
  };
  if (!outcome.trouble.empty()) throw fail(outcome.trouble);
  if (WIFSIGNALED(outcome.status))
    throw fail(fmt::format("ended by signal {}", WTERMSIG(outcome.status)));
  if (WEXITSTATUS(outcome.status) != 0)
    throw fail(fmt::format("ended with exit code {}", WEXITSTATUS(outcome.status)));
  const std::string text = trimmed(outcome.out);
  double value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || fault != std::errc() || end != text.data() + text.size())
    throw fail(fmt::format("expected one number on stdout, found '{}'", printable(text, 60)));
  return value;
}

}  // namespace espalier
