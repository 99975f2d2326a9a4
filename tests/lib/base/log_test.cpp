#include "lib/base/log.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

// Runs `work` with stderr led to `descriptor`.
void with_stderr(int descriptor, const std::function<void()>& work) {
  fflush(stderr);
  const int before = dup(STDERR_FILENO);
  dup2(descriptor, STDERR_FILENO);
  work();
  fflush(stderr);
  dup2(before, STDERR_FILENO);
  close(before);
}

std::string stderr_of(const std::function<void()>& work) {
  const TemporaryFolder folder;
  const int file = open((folder / "err").c_str(), O_RDWR | O_CREAT, 0600);
  with_stderr(file, work);
  close(file);
  return read_text(folder / "err");
}

// Small containers have none.
bool has_terminals() {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0) {
    MESSAGE("skipped: no pseudo terminals here");
    return false;
  }
  close(master);
  return true;
}

// What a terminal would get.
std::string terminal_of(const std::function<void()>& work) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(grantpt(master) == 0);
  REQUIRE(unlockpt(master) == 0);
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  with_stderr(terminal, work);
  close(terminal);
  std::string text, piece(4096, '\0');
  // A terminal gives what was written in pieces, then an error once nobody can write any more.
  for (ssize_t size; (size = read(master, piece.data(), piece.size())) > 0;)
    text.append(piece, 0, static_cast<size_t>(size));
  close(master);
  return text;
}

TEST_CASE("warnings are one printable line each, notes are shown with -v only") {
  CHECK(stderr_of([] { warn("weight \x1b[2J: odd"); }) == "warning: weight \\x1b[2J: odd\n");
  CHECK(stderr_of([] { note("hidden"); }).empty());
  set_log_level(LogLevel::kVerbose);
  CHECK(stderr_of([] { note("shown"); }) == "shown\n");
  set_log_level(LogLevel::kQuiet);
  CHECK(stderr_of([] { warn("hidden"); }).empty());
  set_log_level(LogLevel::kNormal);
}

TEST_CASE("a warning of the same subject is given once where that is asked for") {
  CHECK(stderr_of([] {
          for (int i = 0; i < 2; ++i) {
            warn_once("one", i == 0 ? "one" : "another");
            warn_once("two", "two");
          }
        }) == "warning: one\nwarning: two\n");
}

TEST_CASE("a progress bar shows on a terminal, and is gone afterwards") {
  if (!has_terminals()) return;
  const std::string shown = terminal_of([] {
    Progress progress("packing", 4);
    usleep(150'000);
    progress.step(2);
    warn("in between");
  });
  CHECK(shown.find("packing [..............................] 0/4") != std::string::npos);
  CHECK(shown.find("packing [###############...............] 2/4") != std::string::npos);
  CHECK(shown.find("\r\033[Kwarning: in between") != std::string::npos);
  CHECK(shown.ends_with("\r\033[K"));
}

TEST_CASE("work inside work moves the same bar") {
  if (!has_terminals()) return;
  const std::string shown = terminal_of([] {
    Progress outer("prune", std::vector<double>{1, 3});
    {
      Progress inner("score", 2);
      usleep(150'000);
      inner.step();
    }
    usleep(150'000);
    outer.step();
    Progress inner("refit", 4);
    usleep(150'000);
    inner.step(2);
  });
  CHECK(shown.find("prune: score [###...........................] 1/2") != std::string::npos);
  CHECK(shown.find("prune: refit [##################............] 2/4") != std::string::npos);
  CHECK(shown.find("prune [#######.......................] 1/2") != std::string::npos);
}

TEST_CASE("the time left is what is expected until the work itself tells") {
  Progress outer("prune", ExpectedSeconds{{100, 50, 0}});
  CHECK(*outer.left() == doctest::Approx(150).epsilon(0.01));
  outer.step();
  outer.expect(2, 20);
  CHECK(*outer.left() == doctest::Approx(70).epsilon(0.01));
  {
    const Progress unknown("score", 4);
    CHECK(*outer.left() == doctest::Approx(70).epsilon(0.01));
  }
  Progress inner("score", 4);
  usleep(200'000);
  inner.step();  // a quarter in a fifth of a second
  CHECK(*outer.left() > 20 + 0.5);
  CHECK(*outer.left() < 20 + 3);
}

TEST_CASE("with -v a line says how far long work is where there is no bar") {
  set_log_level(LogLevel::kVerbose);
  const std::string said = stderr_of([] {
    Progress outer("prune", ExpectedSeconds{{5, 60}});
    const Stage stage("score");
    Progress inner("traces", 10);
    inner.step();
    usleep(5'100'000);
    std::thread other([&] { inner.step(3); });
    other.join();
    inner.step();
    inner.step();
  });
  set_log_level(LogLevel::kNormal);
  CAPTURE(said);
  CHECK(said.starts_with("prune: traces 5/10, "));
  CHECK(said.find("s left\nscore: 5.") != std::string::npos);
  CHECK(std::ranges::count(said, '\n') == 2);
}

TEST_CASE("a progress bar writes nothing into a pipe or a file, nor with -q") {
  const auto work = [] {
    Progress progress("packing", 0);
    progress.step();
  };
  CHECK(stderr_of(work).empty());
  if (!has_terminals()) return;
  set_log_level(LogLevel::kQuiet);
  CHECK(terminal_of([&] {
          work();
          fputs("end", stderr);
        }) == "end");
  set_log_level(LogLevel::kNormal);
}

TEST_CASE("a sink takes what its thread says, and nothing goes to stderr") {
  std::vector<std::string> told;
  const LogSink sink{
      .warn = [&](std::string_view text) { told.emplace_back(text); },
      .note = {},
      .progress =
          [&](std::string_view what, size_t done, size_t total) {
            told.push_back(std::string(what) + std::to_string(done) + "/" + std::to_string(total));
          }};
  const auto work = [&] {
    const ScopedLogSink scoped(sink);
    warn("odd\x1b");
    note("dropped");
    const Stage stage("dropped too");
    Progress progress("search ", 2);
    progress.step(2);
  };
  CHECK(stderr_of(work).empty());
  CHECK(told == std::vector<std::string>{"odd\\x1b", "search 0/2", "search 2/2"});
  CHECK(stderr_of([] { warn("back"); }) == "warning: back\n");
}

TEST_CASE("a sink that throws ends the work") {
  struct Stop {};
  const LogSink sink{.warn = {}, .note = {}, .progress = [](std::string_view, size_t done, size_t) {
                       if (done == 1) throw Stop();
                     }};
  const auto work = [&] {
    const ScopedLogSink scoped(sink);
    Progress progress("rounds", 3);
    progress.step();
    FAIL("not ended");
  };
  CHECK_THROWS_AS(work(), Stop);
  CHECK(stderr_of([] { warn("back"); }) == "warning: back\n");
}

}  // namespace
}  // namespace espalier
