#include "apps/espalier/against_onnxruntime.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "apps/espalier/shell.h"
#include "formats/npy/npy.h"
#include "lib/base/error.h"
#include "lib/base/output_file.h"
#include "lib/base/temporaries.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// Arguments: model, inputs (.npz), warm-up and timing in seconds, threads (0: all).
constexpr std::string_view kScript = R"(import json, sys, time
import numpy, onnxruntime
model, inputs, warmup, seconds, threads = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
options.log_severity_level = 3
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
feed = dict(numpy.load(inputs))
def runs(seconds, least):
    times, end = [], time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        begin = time.perf_counter()
        session.run(None, feed)
        times.append(1000 * (time.perf_counter() - begin))
    return sorted(times)
runs(warmup, 1)
times = runs(seconds, 3)
print(json.dumps({"version": onnxruntime.__version__, "runs": len(times), "median": times[len(times) // 2],
                  "p95": times[min(len(times) - 1, len(times) * 95 // 100)], "min": times[0]}))
)";

std::string python() {
  const char* named = std::getenv("ESPALIER_PYTHON");
  return named == nullptr || named[0] == '\0' ? "python3" : named;
}

OtherRuntime read_outcome(const ShellOutcome& outcome) {
  const auto fail = [](const std::string& why) {
    throw Error(Fault::kUnsupported,
                fmt::format("--against onnxruntime ({}): {}", printable(python()), why));
  };
  if (!outcome.trouble.empty()) fail(outcome.trouble);
  if (!WIFEXITED(outcome.status) || WEXITSTATUS(outcome.status) != 0) {
    const std::string said = last_line(outcome.err);
    fail(said.empty() ? "failed without a message" : printable(said, 400));
  }
  OtherRuntime result;
  try {
    const auto json = nlohmann::json::parse(last_line(outcome.out));
    result.name = "onnxruntime " + json.at("version").get<std::string>();
    result.timing = {json.at("runs").get<size_t>(), json.at("median").get<double>(),
                     json.at("p95").get<double>(), json.at("min").get<double>()};
  } catch (const nlohmann::json::exception&) {
    fail("its output cannot be read: " + printable(last_line(outcome.out), 100));
  }
  return result;
}

}  // namespace

OtherRuntime time_in_onnxruntime(const fs::path& model, const Feed& feed,
                                 const TimingOptions& options, size_t threads) {
  const HeldFolder folder(fs::temp_directory_path() / "espalier");
  const fs::path script = folder.path() / "time.py", inputs = folder.path() / "inputs.npz";
  write_file(script, as_bytes(kScript));
  write_npz_file(inputs, {feed.begin(), feed.end()});
  const ShellOutcome outcome = run_shell(
      fmt::format("{} {} {} {} {} {} {}", shell_quoted(python()), shell_quoted(script.string()),
                  shell_quoted(fs::absolute(model).string()), shell_quoted(inputs.string()),
                  options.warmup, options.seconds, threads),
      "--against onnxruntime");
  return read_outcome(outcome);
}

}  // namespace espalier
