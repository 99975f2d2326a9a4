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

void warn(std::string_view text) { print(spdlog::level::warn, "warning: ", text); }
void warn_once(std::string_view text) {
  static std::mutex mutex;
  static std::set<std::string, std::less<>> said;
  {
    const std::lock_guard lock(mutex);
    if (!said.emplace(text).second) return;
  }
  warn(text);
}
void note(std::string_view text) { print(spdlog::level::info, "", text); }

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
  size_t total, done = 0;
  Clock::time_point last{};

  void draw() {
    const size_t filled = total == 0 ? kWidth : std::min(done, total) * kWidth / total;
    line = fmt::format("\r\033[K{} [{:#<{}}{:.<{}}] {}/{}", what, "", filled, "", kWidth - filled,
                       done, total);
    std::fputs(line.c_str(), stderr);
    last = Clock::now();
  }
};

// Where stderr is no terminal, or -q was given, or an outer bar is there already, there is no state
// and nothing is printed.
Progress::Progress(std::string_view what, size_t total) {
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
  if (!state_) return;
  const std::lock_guard lock(bar_mutex);
  clear_line();
  bar = nullptr;
}

void Progress::step(size_t count) {
  if (!state_) return;
  const std::lock_guard lock(bar_mutex);
  state_->done += count;
  if (State::Clock::now() - state_->last >= State::kPause) state_->draw();
}

}  // namespace espalier
