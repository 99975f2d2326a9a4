#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace espalier {

/// What goes to stderr. The text is made printable() here, so a name from a file can be put into it
/// as it is.
void warn(std::string_view text);
/// The same where that text was not said before: for what is read or checked more than once.
void warn_once(std::string_view text);
/// Shown with -v only.
void note(std::string_view text);

enum class LogLevel { kQuiet, kNormal, kVerbose };
void set_log_level(LogLevel level);

/// A progress bar on stderr where that is a terminal, nothing else; gone when the object is.
class Progress {
 public:
  Progress(std::string_view what, size_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void step(size_t count = 1);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier
