#pragma once

#include <string>
#include <string_view>

namespace espalier {

/// What a program left: all of stdout, the end of stderr, and the status of waitpid().
struct ShellOutcome {
  std::string out, err;
  int status = 0;
  std::string trouble;  ///< why it was stopped: it printed too much, or took longer than an hour
};

/// Runs `command` by /bin/sh, its stdin being empty; it ends with this program.
/// Errors  Fault::kFormat, in the words of `what`, where it cannot be started.
ShellOutcome run_shell(const std::string& command, std::string_view what);

/// One word for the shell that is `path`, and no option to whoever gets it.
std::string shell_quoted(std::string path);

/// Without blanks and line ends around it, and of that the last line.
std::string trimmed(const std::string& text);
std::string last_line(const std::string& text);

}  // namespace espalier
