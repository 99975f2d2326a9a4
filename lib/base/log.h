#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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
  /// After each step, and with done = 0 at the start. Steps within a step are told too. Called by
  /// the thread that set the sink.
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

/// About how many seconds each step will take, as far as that can be told before; 0: nobody knows.
struct ExpectedSeconds {
  std::vector<double> steps;
};

/// How far work has come: for the thread's LogSink, else one bar with the time left on stderr where
/// that is a terminal, or with -v a line every ten seconds where it is none. One that is made while
/// another is there on the same thread divides the other's step. What the steps take is measured:
/// what was expected counts less the more is done. step() may be called from other threads of the
/// work, too: what these did is told by the thread that made it.
class Progress {
 public:
  Progress(std::string_view what, size_t total);
  /// Steps of one kind that take these shares of the time.
  Progress(std::string_view what, std::vector<double> shares);
  /// Steps of different kinds.
  Progress(std::string_view what, ExpectedSeconds expected);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step(size_t count = 1);
  /// Of one of ExpectedSeconds, once more is known.
  void expect(size_t step, double seconds);
  /// In seconds, where that can be told.
  std::optional<double> left() const;

 private:
  friend class Stage;
  struct State;
  void begin(std::string_view what, size_t total);
  static thread_local State* innermost;  // of this thread
  std::unique_ptr<State> state_;
};

/// Notes how long a stage took, and how long the rest will.
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
