// The command line, in this process.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <csignal>
#include <optional>

#include "apps/espalier/program.h"
#include "apps/python/src/failure.h"
#include "lib/base/log.h"
#include "lib/base/output_file.h"

namespace nb = nanobind;

namespace espalier::python {
namespace {

// Ends the work; what was raised is kept beside it, since the work knows nothing of Python.
struct Stopped : std::exception {
  const char* what() const noexcept override { return "stopped by Python"; }
};

// Calls of Python from work that runs without its lock. After one that raised, and where a signal
// (Ctrl-C) came, the work is stopped.
class Calls {
 public:
  template <typename... Args>
  void operator()(const nb::object& function, const Args&... arguments) {
    const nb::gil_scoped_acquire lock;
    try {
      if (!function.is_none()) function(arguments...);
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
    } catch (nb::python_error& error) {
      raised_.emplace(std::move(error));
    }
    if (raised_) throw Stopped();
  }

  /// With Python's lock held.
  void raise_again() {
    if (raised_) throw std::move(*raised_);
  }

 private:
  std::optional<nb::python_error> raised_;
};

std::vector<const char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<const char*> result;
  for (const std::string& word : words) result.push_back(word.c_str());
  result.push_back(nullptr);
  return result;
}

// Status, and what the command printed on stdout.
std::pair<int, nb::bytes> run_command(const std::vector<std::string>& words,
                                      const nb::object& progress, const nb::object& warning,
                                      const nb::object& note) {
  Calls call;
  LogSink sink;
  sink.warn = [&](std::string_view text) { call(warning, std::string(text)); };
  sink.note = [&](std::string_view text) { call(note, std::string(text)); };
  sink.progress = [&](std::string_view what, size_t done, size_t total) {
    call(progress, std::string(what), done, total);
  };
  std::string printed;
  int status = 0;
  try {
    const nb::gil_scoped_release unlock;
    const ScopedLogSink sinks(sink);
    const ScopedPrint print(printed);
    status = run_line(static_cast<int>(words.size()), pointers_to(words).data());
  } catch (...) {
    call.raise_again();
    throw;
  }
  return {status, nb::bytes(printed.data(), printed.size())};
}

// The program itself: prints, and ends by signals as it does.
int run_whole_program(const std::vector<std::string>& words) {
  const nb::gil_scoped_release unlock;
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGINT, SIG_DFL);
  remove_outputs_on_signals();
  return run_program(static_cast<int>(words.size()), pointers_to(words).data());
}

}  // namespace

void add_commands(nb::module_& module) {
  module.def("run_command", &run_command, nb::arg("words"), nb::arg("progress").none(),
             nb::arg("warning").none(), nb::arg("note").none());
  module.def("run_program", &run_whole_program, nb::arg("words"));
}

}  // namespace espalier::python
