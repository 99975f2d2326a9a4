#pragma once

#include <span>
#include <string>

namespace espalier {

/// Parses a command line and runs its command. argv[0] is the program's name.
/// Errors  Error, of Fault::kUsage where the line is wrong; whatever the command throws.
/// Returns the exit code of the command.
int run_line(int argc, const char* const* argv);

/// The words of the line that this thread runs, with the program's name; none outside of run_line().
std::span<const char* const> words_of_line();

/// The program: run_line(), errors as one line on stderr.
int run_program(int argc, const char* const* argv);

/// While it lives, what this thread's commands print on stdout is added to `text`. They nest.
class ScopedPrint {
 public:
  explicit ScopedPrint(std::string& text);
  ~ScopedPrint();
  ScopedPrint(const ScopedPrint&) = delete;
  ScopedPrint& operator=(const ScopedPrint&) = delete;

 private:
  std::string* outer_;
};

}  // namespace espalier
