#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <set>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/common_options.h"
#include "apps/espalier/data_options.h"
#include "apps/espalier/load_data.h"
#include "apps/espalier/options.h"
#include "apps/espalier/run_info.h"
#include "formats/format.h"
#include "formats/npy/npy.h"
#include "lib/base/log.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  DataOptions data;
  Tolerance tolerance;
  std::string model, output, machine;
  std::vector<std::string> passes_off;
  bool check = false;
};

namespace fs = std::filesystem;

void make_folder(const fs::path& folder) {
  std::error_code fault;
  fs::create_directories(folder, fault);
  if (fault)
    throw Error(Fault::kFormat, fmt::format("{}: {}", printable(folder.string()), fault.message()));
}

std::string file_of(const std::string& output) {
  return "output_" + file_name_part(output) + ".npy";
}

void write_outputs(const fs::path& folder, const Feed& outputs) {
  make_folder(folder);
  for (const auto& [name, tensor] : outputs) write_npy_file(folder / file_of(name), tensor);
}

// Nothing that is read is replaced, and no output by another: told before the model runs.
CommandFiles checked_files(const Args& args, const Model& model, const DataSet& data) {
  CommandFiles files;
  files.reads_model("MODEL", args.model);
  files.reads(args.data);
  files.reads("--machine", args.machine);
  files.writes(args.common);
  if (args.output.empty()) return files;
  std::set<std::string> taken;
  for (const std::string& name : output_names(model)) {
    if (!taken.insert(file_of(name)).second) {
      throw Error(
          Fault::kUnsupported,
          fmt::format("the names of these outputs differ only in slashes or control characters: {}",
                      printable(name)));
    }
    const bool sets = data.feeds.size() > 1;
    for (size_t i = 0; i < (sets ? data.feeds.size() : 1); ++i) {
      const fs::path folder =
          sets ? fs::path(args.output) / data.feed_names[i] : fs::path(args.output);
      files.creates("-o", folder / file_of(name));
    }
  }
  return files;
}

// One array for each output, or a folder for each test set where there are several of these: their
// shapes may differ.
void write_all(const Args& args, const Model& model, const DataSet& data,
               const std::vector<Feed>& outputs) {
  if (data.feeds.size() > 1) {
    for (size_t i = 0; i < outputs.size(); ++i)
      write_outputs(fs::path(args.output) / data.feed_names[i], outputs[i]);
  } else if (!data.feeds.empty()) {
    write_outputs(args.output, outputs.front());
  } else {
    write_outputs(args.output, join_outputs(outputs, stacks_samples(model, data)));
  }
}

Comparison check(const Args& args, const Model& model, const DataSet& data,
                 const std::vector<Feed>& outputs) {
  Comparer comparer(args.tolerance);
  if (data.feeds.empty()) {
    comparer.add(data.expected.front(), join_outputs(outputs, stacks_samples(model, data)));
  } else {
    for (size_t i = 0; i < outputs.size(); ++i) comparer.add(data.expected[i], outputs[i]);
  }
  return comparer.result();
}

int report_check(const Args& args, const CommandFiles& files, const Comparison& comparison,
                 size_t samples) {
  Results results;
  results.command = "run";
  results.run = run_info(files, args.common);
  VerifyResults& found = results.verify.emplace();
  found.a = printable(args.data.inputs, 4096) + " (stored outputs)";
  found.b = printable(args.model, 4096);
  found.samples = samples;
  found.tolerance = args.tolerance;
  found.outputs = comparison.outputs;
  found.ok = comparison.ok();
  emit(results, args.common);
  return found.ok ? kDone : kOutOfTolerance;
}

// Runs the model on every feed and writes or compares the outputs.
int run(const Args& args) {
  apply_common(args.common);
  if (args.output.empty() && !args.check)
    throw Error(Fault::kUsage, "-o DIR is missing: the folder to write, or --check");
  check_data_options(args.data);
  const PassOptions passes = passes_without(args.passes_off);
  const Model model = runnable(read_model(args.model));
  // First of all: what the runtime cannot run is said before what is wrong with the data.
  Executor executor(
      model,
      {.threads = args.common.threads, .measured = measured_by(args.machine), .passes = passes});
  const DataSet data = data_set(args.data.inputs, model, args.data);
  if (args.check && data.expected.empty()) {
    throw Error(Fault::kFormat, fmt::format("{}: contains no stored outputs to compare with",
                                            printable(args.data.inputs)));
  }
  const CommandFiles files = checked_files(args, model, data);
  const std::vector<Feed> feeds = make_feeds(model, data);
  std::vector<Feed> outputs;
  {
    Progress progress("run", feeds.size());
    run_feeds(executor, model, data, feeds, [&](size_t, const Feed& result) {
      outputs.push_back(result);
      progress.step();
    });
  }
  if (!args.output.empty()) write_all(args, model, data, outputs);
  if (args.check) return report_check(args, files, check(args, model, data, outputs), feeds.size());
  if (!args.common.quiet) {
    print(fmt::format("{} {} run, {} written to {}\n", feeds.size(),
                      feeds.size() == 1 ? "feed" : "feeds", fmt::join(output_names(model), ", "),
                      printable(args.output)));
  }
  return kDone;
}

std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("MODEL", args->model, "model to run")->required();
  app.add_option("-o,--output", args->output, "folder to write output_NAME.npy to")
      ->type_name("DIR");
  app.add_flag("--check", args->check, "compare with the outputs stored next to the inputs");
  add_tolerance(app, args->tolerance);
  add_machine(app, args->machine);
  add_pass_options(app, args->passes_off);
  add_data_options(app, args->data, "inputs");
  app.get_option("--inputs")->required();
  add_common(app, args->common);
  add_footer(app,
             "  espalier run model.onnx --inputs input_x.npy -o outputs\n"
             "  espalier run model.onnx --inputs test_data_set_0 --check");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command run_command{"run", "run a model and write its outputs as .npy", add};

}  // namespace espalier
