#include "apps/espalier/metric_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>

#include "lib/base/error.h"

namespace espalier {
namespace {

constexpr size_t kMostOutput = size_t{64} << 10;
constexpr std::chrono::seconds kLongest{3600};

std::string shell_quoted(std::string path) {
  if (path.starts_with('-')) path.insert(0, "./");  // not an option of the program
  std::string result = "'";
  for (const char c : path) result.append(c == '\'' ? "'\\''" : std::string(1, c));
  return result + '\'';
}

std::string filled_in(std::string command, const std::string& path) {
  static constexpr std::string_view kPlace = "{model}";
  size_t place = command.find(kPlace);
  if (place == std::string::npos)
    throw Error(Fault::kUsage, "--metric-cmd: the command does not contain {model}");
  const std::string quoted = shell_quoted(path);
  for (; place != std::string::npos; place = command.find(kPlace, place + quoted.size()))
    command.replace(place, kPlace.size(), quoted);
  return command;
}

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

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw Error(Fault::kFormat, fmt::format("--metric-cmd: {}", std::strerror(errno)));
  return ends;
}

struct Outcome {
  std::string out, err;
  int status = 0;
  std::string trouble;  // why it was stopped
};

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

void collect(End& out, End& err, Outcome& outcome) {
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
      outcome.trouble = "prints more than one number";
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

Outcome run_shell(const std::string& command) {
  const auto out = make_pipe();
  End out_read(out[0]), out_write(out[1]);
  const auto err = make_pipe();
  End err_read(err[0]), err_write(err[1]);
  const pid_t child = ::fork();
  if (child < 0) throw Error(Fault::kFormat, fmt::format("--metric-cmd: {}", std::strerror(errno)));
  if (child == 0) become_shell(command.c_str(), out_write.get(), err_write.get());
  out_write.reset();
  err_write.reset();
  Outcome outcome;
  collect(out_read, err_read, outcome);
  if (!outcome.trouble.empty()) ::kill(-child, SIGKILL);
  while (::waitpid(child, &outcome.status, 0) < 0 && errno == EINTR) {
  }
  return outcome;
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

}  // namespace

double run_metric_command(const std::string& command, const std::filesystem::path& model) {
  const std::string line = filled_in(command, model.string());
  const Outcome outcome = run_shell(line);
  const auto fail = [&](const std::string& why) {
    const std::string said = last_line(outcome.err);
    return Error(Fault::kFormat, fmt::format("--metric-cmd {}: {}{}", printable(line, 300), why,
                                             said.empty() ? "" : "; " + printable(said, 300)));
  };
  if (!outcome.trouble.empty()) throw fail(outcome.trouble);
  if (WIFSIGNALED(outcome.status))
    throw fail(fmt::format("ended by signal {}", WTERMSIG(outcome.status)));
  if (WEXITSTATUS(outcome.status) != 0)
    throw fail(fmt::format("ended with exit code {}", WEXITSTATUS(outcome.status)));
  const std::string text = trimmed(outcome.out);
  double value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || fault != std::errc() || end != text.data() + text.size())
    throw fail(fmt::format("expected one number on stdout, found '{}'", printable(text, 60)));
  return value;
}

}  // namespace espalier
