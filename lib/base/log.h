#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace espalier {

/// What goes to stderr. The text is made printable() here, so a name from a file can be put into it
/// as it is.
void warn(std::string_view text);
/// The same where nothing was said yet of `subject`: for what is read or checked more than once, and
/// for files that were made of others and share their oddities.
void warn_once(std::string_view subject, std::string_view text);
/// Shown with -v only.
void note(std::string_view text);

/// Takes what work says of itself, for a program that has no terminal or does not want it there (a
/// binding). A function that is not set drops what it would get; one that throws ends the work.
struct LogSink {
  std::function<void(std::string_view text)> warn, note;
  /// After each step, and with done = 0 at the start. Steps within a step are told too.
  std::function<void(std::string_view what, size_t done, size_t total)> progress;
};

/// While it lives, what this thread warns, notes and reports as progress goes to `sink`, not to
/// stderr. The sink must outlive it. They nest.
class ScopedLogSink {
 public:
  explicit ScopedLogSink(const LogSink& sink);
  ~ScopedLogSink();
  ScopedLogSink(const ScopedLogSink&) = delete;
  ScopedLogSink& operator=(const ScopedLogSink&) = delete;

 private:
  const LogSink* outer_;
};

enum class LogLevel { kQuiet, kNormal, kVerbose };
void set_log_level(LogLevel level);

/// How far work has come: for the thread's LogSink, else a progress bar on stderr where that is a
/// terminal, nothing else; gone when the object is.
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

/// Notes how long a stage took.
class Stage {
 public:
  explicit Stage(std::string name) : name_(std::move(name)) {}
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

 private:
  std::string name_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace espalier
