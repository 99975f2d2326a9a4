#include "lib/base/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <thread>
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

thread_local Progress::State* Progress::innermost = nullptr;

struct Progress::State {
  using Clock = std::chrono::steady_clock;

  std::string what;
  size_t total = 0;
  std::vector<double> costs;  // of each step; empty: alike
  bool seconds = false;       // that is what costs are
  std::atomic<size_t> done{0};
  State *outer = nullptr, *inner = nullptr;
  const LogSink* told = nullptr;  // null: shown on stderr
  std::thread::id owner = std::this_thread::get_id();
  Clock::time_point start = Clock::now(), step_start = start;
  double part = 0;  // of the step, done by inner ones that are gone

  // Of the outermost.
  std::string line;
  double shown = 0;
  bool drawn = false, noted = false;
  Clock::time_point last = start;

  static double since(Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  }

  // What is left to the inner one of the step's time.
  double expected_of_inner(size_t at) const {
    const std::chrono::duration<double> gone = inner->start - step_start;
    return seconds ? std::max(0.0, costs[at] - gone.count()) : 0;
  }

  // What is done, of all. `expected`: how many seconds all was to take, 0: nobody knows.
  double share(double expected) const {
    const size_t at = done;
    if (at >= total) return 1;
    if (seconds) {
      const std::optional<double> rest = left(expected);
      return rest ? since(start) / std::max(1e-9, since(start) + *rest) : 0;
    }
    const double step =
        inner == nullptr ? part : part + (1 - part) * inner->share(expected_of_inner(at));
    if (costs.empty()) return (static_cast<double>(at) + step) / static_cast<double>(total);
    const auto here = costs.begin() + static_cast<std::ptrdiff_t>(at);
    const double all = std::accumulate(costs.begin(), costs.end(), 0.0);
    return all > 0 ? (std::accumulate(costs.begin(), here, 0.0) + *here * step) / all : 0;
  }

  // Seconds. What was expected counts until a tenth is done.
  std::optional<double> left(double expected) const {
    const size_t at = done;
    if (at >= total) return 0;
    if (seconds) {
      const double rest =
          std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(at) + 1, costs.end(), 0.0);
      if (inner == nullptr) return rest + std::max(0.0, costs[at] - since(step_start));
      const std::optional<double> now = inner->left(expected_of_inner(at));
      if (now) return *now + rest;
      return expected > 0 ? std::optional(std::max(0.0, expected - since(start))) : std::nullopt;
    }
    const double gone = since(start), part_done = share(expected);
    if (part_done <= 0)
      return expected > 0 ? std::optional(std::max(0.0, expected - gone)) : std::nullopt;
    const double trust = expected > 0 ? std::min(1.0, 10 * part_done) : 1;
    return (1 - part_done) * ((1 - trust) * expected + trust * gone / part_done);
  }

  // ", 12 s left" once that can be told.
  std::string time_left() const {
    if (done == 0 && inner == nullptr) return "";
    const std::optional<double> rest = left(0);
    if (!rest || done >= total || since(start) < 2) return "";
    return *rest < 90 ? fmt::format(", {:.0f} s left", *rest)
                      : fmt::format(", {:.0f} min left", *rest / 60);
  }

  State& outermost() {
    State* state = this;
    while (state->outer != nullptr) state = state->outer;
    return *state;
  }

  // "prune: calibrate" and how far the latter is.
  std::pair<std::string, std::string> place() const {
    const State* at = this;
    while (at->inner != nullptr) at = at->inner;
    return {at == this ? what : what + ": " + at->what,
            fmt::format("{}/{}", at->done.load(), at->total)};
  }

  void draw() {
    constexpr size_t kWidth = 30;
    shown = std::clamp(total == 0 ? 1.0 : share(0), shown, 1.0);  // never back
    const auto filled = static_cast<size_t>(shown * kWidth);
    const auto [name, count] = place();
    line = fmt::format("\r\033[K{} [{:#<{}}{:.<{}}] {}{}", name, "", filled, "", kWidth - filled,
                       count, time_left());
    std::fputs(line.c_str(), stderr);
    last = Clock::now();
  }

  // Where there is no bar: the same as a line, with -v.
  void say() {
    last = Clock::now();
    noted = true;
    const auto [name, count] = place();
    note(fmt::format("{} {}{}", name, count, time_left()));
  }

  // Where it is time for that. Bars move, lines do not.
  void show() {
    constexpr double kPause = 0.1, kFirstLine = 5, kLine = 10;
    if (drawn) {
      const std::lock_guard lock(bar_mutex);
      if (since(last) >= kPause) draw();
    } else if (since(last) >= (noted ? kLine : kFirstLine)) {
      say();
    }
  }
};

// The sink may throw: nothing refers to this one before.
void Progress::begin(std::string_view what, size_t total) {
  state_ = std::make_unique<State>();
  state_->what = printable(what, 60);
  state_->total = total;
  state_->told = sink;
  if (sink != nullptr && sink->progress) sink->progress(what, 0, total);
  state_->outer = std::exchange(innermost, state_.get());
  if (state_->outer != nullptr) {
    state_->outer->inner = state_.get();
    if (sink == nullptr) state_->outermost().show();
    return;
  }
  const std::lock_guard lock(bar_mutex);
  // No bar where stderr is no terminal, with -q, and where another thread has one.
  if (sink != nullptr || bar != nullptr || isatty(STDERR_FILENO) == 0 ||
      !logger().should_log(spdlog::level::warn))
    return;
  bar = &state_->line;
  state_->drawn = true;
  state_->draw();
}

Progress::Progress(std::string_view what, size_t total) { begin(what, total); }

Progress::Progress(std::string_view what, std::vector<double> shares) {
  begin(what, shares.size());
  state_->costs = std::move(shares);
}

Progress::Progress(std::string_view what, ExpectedSeconds expected) {
  begin(what, expected.steps.size());
  state_->costs = std::move(expected.steps);
  state_->seconds = true;
}

Progress::~Progress() {
  if (state_->outer != nullptr) {
    State& outer = *state_->outer;
    outer.part += (1 - outer.part) * state_->share(0);
    outer.inner = nullptr;
  }
  innermost = state_->outer;
  if (!state_->drawn) return;
  const std::lock_guard lock(bar_mutex);
  clear_line();
  bar = nullptr;
}

void Progress::step(size_t count) {
  state_->done += count;
  if (std::this_thread::get_id() != state_->owner) return;
  state_->step_start = State::Clock::now();
  state_->part = 0;
  if (state_->told == nullptr) return state_->outermost().show();
  if (state_->told->progress) state_->told->progress(state_->what, state_->done, state_->total);
}

void Progress::expect(size_t step, double seconds) { state_->costs.at(step) = seconds; }

std::optional<double> Progress::left() const { return state_->left(0); }

Stage::~Stage() {
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
  try {
    Progress::State* const work = Progress::innermost;
    const std::string left = work == nullptr ? "" : work->outermost().time_left();
    note(fmt::format("{}: {:.3f} s{}", name_, passed.count(), left));
  } catch (...) {  // a sink ends work from warn() and progress, not from a stage's end
    return;
  }
}

}  // namespace espalier
