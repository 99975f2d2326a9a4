#include "apps/espalier/shell.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "lib/base/error.h"

namespace espalier {
namespace {

constexpr size_t kMostOutput = size_t{64} << 10;
constexpr std::chrono::seconds kLongest{3600};

// One end of a pipe that closes itself.
class End {
 public:
  explicit End(int descriptor) : descriptor_(descriptor) {}
  ~End() { reset(); }
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  int get() const { return descriptor_; }
  void reset() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }

 private:
  int descriptor_;
};

std::array<int, 2> make_pipe(std::string_view what) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw Error(Fault::kFormat, fmt::format("{}: {}", what, std::strerror(errno)));
  return ends;
}

// Reads what is there; false at the end. Past the limit only the newest bytes of stderr are kept.
bool read_some(End& end, std::string& text) {
  std::array<char, 4096> buffer{};
  const ssize_t count = ::read(end.get(), buffer.data(), buffer.size());
  if (count < 0 && errno == EINTR) return true;
  if (count <= 0) {
    end.reset();
    return false;
  }
  text.append(buffer.data(), static_cast<size_t>(count));
  return true;
}

void collect(End& out, End& err, ShellOutcome& outcome) {
  const auto deadline = std::chrono::steady_clock::now() + kLongest;
  while (out.get() >= 0 || err.get() >= 0) {
    std::array<pollfd, 2> waits{pollfd{out.get(), POLLIN, 0}, pollfd{err.get(), POLLIN, 0}};
    if (std::chrono::steady_clock::now() > deadline) {
      outcome.trouble = fmt::format("takes longer than {} s", kLongest.count());
      return;
    }
    if (::poll(waits.data(), waits.size(), 1000) < 0 && errno != EINTR) return;
    if (waits[0].revents != 0) read_some(out, outcome.out);
    if (waits[1].revents != 0) read_some(err, outcome.err);
    if (outcome.out.size() > kMostOutput) {
      outcome.trouble = "prints more than 64 KiB";
      return;
    }
    if (outcome.err.size() > kMostOutput) outcome.err.erase(0, outcome.err.size() - kMostOutput);
  }
}

// The child: nothing but calls that are safe after fork.
[[noreturn]] void become_shell(const char* command, int out, int err) {
  ::setpgid(0, 0);                     // so that it can be stopped with all that it starts
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // and ends with us
  ::signal(SIGPIPE, SIG_DFL);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  ::execl("/bin/sh", "sh", "-c", command, static_cast<char*>(nullptr));
  ::_exit(127);
}

}  // namespace

ShellOutcome run_shell(const std::string& command, std::string_view what) {
  const auto out = make_pipe(what);
  End out_read(out[0]), out_write(out[1]);
  const auto err = make_pipe(what);
  End err_read(err[0]), err_write(err[1]);
  const pid_t child = ::fork();
  if (child < 0) throw Error(Fault::kFormat, fmt::format("{}: {}", what, std::strerror(errno)));
  if (child == 0) become_shell(command.c_str(), out_write.get(), err_write.get());
  out_write.reset();
  err_write.reset();
  ShellOutcome outcome;
  collect(out_read, err_read, outcome);
  if (!outcome.trouble.empty()) ::kill(-child, SIGKILL);
  while (::waitpid(child, &outcome.status, 0) < 0 && errno == EINTR) {
  }
  return outcome;
}

std::string shell_quoted(std::string path) {
  if (path.starts_with('-')) path.insert(0, "./");  // not an option of the program
  std::string result = "'";
  for (const char c : path) result.append(c == '\'' ? "'\\''" : std::string(1, c));
  return result + '\'';
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos
             ? ""
             : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string last_line(const std::string& text) {
  const std::string rest = trimmed(text);
  return rest.substr(rest.find_last_of('\n') + 1);
}

}  // namespace espalier
