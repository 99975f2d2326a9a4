#include "lib/base/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "lib/base/error.h"

namespace espalier {
namespace {

constexpr size_t kTextLimit = 4000;

// "warning: text" without time or colour: the lines are read by scripts too.
spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>("espalier",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::warn);
    return made;
  }();
  return *instance;
}

// The bar that is on the terminal's last line, if any: a line of the log goes above it.
std::mutex bar_mutex;
std::string* bar = nullptr;

// Where what this thread says goes; null: stderr.
thread_local const LogSink* sink = nullptr;

void clear_line() { std::fputs("\r\033[K", stderr); }

void print(spdlog::level::level_enum level, std::string_view prefix, std::string_view text) {
  if (!logger().should_log(level)) return;
  const std::lock_guard lock(bar_mutex);
  if (bar != nullptr) clear_line();
  logger().log(level, fmt::format("{}{}", prefix, printable(text, kTextLimit)));
  logger().flush();
  if (bar != nullptr) std::fputs(bar->c_str(), stderr);
}

}  // namespace

void warn(std::string_view text) {
  if (sink == nullptr) return print(spdlog::level::warn, "warning: ", text);
  if (sink->warn) sink->warn(printable(text, kTextLimit));
}

void warn_once(std::string_view subject, std::string_view text) {
  static std::mutex mutex;
  static std::set<std::string, std::less<>> said;
  {
    const std::lock_guard lock(mutex);
    if (!said.emplace(subject).second) return;
  }
  warn(text);
}

void note(std::string_view text) {
  if (sink == nullptr) return print(spdlog::level::info, "", text);
  if (sink->note) sink->note(printable(text, kTextLimit));
}

ScopedLogSink::ScopedLogSink(const LogSink& taking) : outer_(std::exchange(sink, &taking)) {}
ScopedLogSink::~ScopedLogSink() { sink = outer_; }

void set_log_level(LogLevel level) {
  switch (level) {
    case LogLevel::kQuiet:
      return logger().set_level(spdlog::level::err);
    case LogLevel::kNormal:
      return logger().set_level(spdlog::level::warn);
    case LogLevel::kVerbose:
      return logger().set_level(spdlog::level::info);
  }
}

struct Progress::State {
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kPause{100};
  static constexpr size_t kWidth = 30;

  std::string what, line;
  size_t total = 0, done = 0;
  const LogSink* told = nullptr;  // null: a bar is drawn
  Clock::time_point start = Clock::now(), last{};

  // ", 12 s left" once that can be told.
  std::string time_left() const {
    const std::chrono::duration<double> passed = Clock::now() - start;
    if (done == 0 || done >= total || passed.count() < 2) return "";
    const double seconds =
        passed.count() / static_cast<double>(done) * static_cast<double>(total - done);
    return seconds < 90 ? fmt::format(", {:.0f} s left", seconds)
                        : fmt::format(", {:.0f} min left", seconds / 60);
  }

  void draw() {
    const size_t filled = total == 0 ? kWidth : std::min(done, total) * kWidth / total;
    line = fmt::format("\r\033[K{} [{:#<{}}{:.<{}}] {}/{}{}", what, "", filled, "", kWidth - filled,
                       done, total, time_left());
    std::fputs(line.c_str(), stderr);
    last = Clock::now();
  }
};

// Where stderr is no terminal, or -q was given, or an outer bar is there already, there is no state
// and nothing is printed.
Progress::Progress(std::string_view what, size_t total) {
  if (sink != nullptr) {
    if (!sink->progress) return;
    state_ = std::make_unique<State>();
    state_->what = what;
    state_->total = total;
    state_->told = sink;
    sink->progress(what, 0, total);
    return;
  }
  const std::lock_guard lock(bar_mutex);
  if (bar != nullptr || isatty(STDERR_FILENO) == 0 || !logger().should_log(spdlog::level::warn))
    return;
  state_ = std::make_unique<State>();
  state_->what = printable(what, 60);
  state_->total = total;
  bar = &state_->line;
  state_->draw();
}

Progress::~Progress() {
  if (!state_ || state_->told != nullptr) return;
  const std::lock_guard lock(bar_mutex);
  clear_line();
  bar = nullptr;
}

void Progress::step(size_t count) {
  if (!state_) return;
  if (state_->told != nullptr) {
    state_->done += count;
    return state_->told->progress(state_->what, state_->done, state_->total);
  }
  const std::lock_guard lock(bar_mutex);
  state_->done += count;
  if (State::Clock::now() - state_->last >= State::kPause) state_->draw();
}

Stage::~Stage() {
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
  try {
    note(fmt::format("{}: {:.3f} s", name_, passed.count()));
  } catch (...) {  // a sink ends work from warn() and progress, not from a stage's end
    return;
  }
}

}  // namespace espalier
