#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "apps/espalier/against_onnxruntime.h"
#include "apps/espalier/bench_kernels.h"
#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/data_options.h"
#include "apps/espalier/options.h"
#include "apps/espalier/run_info.h"
#include "formats/format.h"
#include "lib/verify/model_runner.h"
#include "lib/verify/timing.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  DataOptions data;
  std::vector<std::string> models, passes_off;
  double interval = 0;
  std::optional<double> warmup, seconds;
  bool profile = false, kernels = false;
  std::string against, machine;
  KernelBenchOptions kernel;
};

// A model ready to be timed, and the feed that it gets each time.
struct Contender {
  std::string file;
  Model model;
  std::unique_ptr<ModelRunner> runner;
};

std::vector<Contender> contenders(const Args& args, const MeasuredChoice& measured, DataSet& data,
                                  Feed& feed) {
  std::vector<Contender> result;
  for (const std::string& file : args.models) {
    Contender& one = result.emplace_back(Contender{file, runnable(read_model(file)), nullptr});
    if (result.size() == 1) {
      data = data_set(args.data.inputs, one.model, args.data);
      feed = args.data.inputs.empty() ? random_feed(one.model, args.common.seed, data)
                                      : make_feeds(one.model, data).front();
    }
  }
  const PassOptions passes = passes_without(args.passes_off);
  for (Contender& one : result) {
    try {
      one.runner = std::make_unique<ModelRunner>(
          one.model, result.front().model, data,
          ExecutorOptions{.threads = args.common.threads, .measured = measured, .passes = passes});
    } catch (Error& error) {
      error.add_context(printable(one.file));
      throw;
    }
  }
  return result;
}

// Time per operator and per node, from runs of their own.
std::vector<OperatorTime> profile(const Args& args, const Contender& one, const Model& first,
                                  const MeasuredChoice& measured, const DataSet& data,
                                  const Feed& feed) {
  ModelRunner runner(one.model, first, data,
                     {.threads = args.common.threads,
                      .measured = measured,
                      .profile = true,
                      .passes = passes_without(args.passes_off)});
  runner.bind(feed);
  size_t runs = 0;
  const std::array<std::function<void()>, 1> body{[&] {
    runner.executor().run_bound();
    ++runs;
  }};
  runner.executor().run_bound();
  const std::vector<NodeTime> before = runner.executor().times();  // the first run plans memory
  time_interleaved(body, {.warmup = 0, .seconds = 0.5});
  std::vector<NodeTime> after = runner.executor().times();
  double total = 0;
  for (size_t i = 0; i < after.size(); ++i) {
    after[i].seconds -= before[i].seconds;
    total += after[i].seconds;
  }
  std::ranges::stable_sort(after, std::greater(), &NodeTime::seconds);
  std::vector<OperatorTime> result;
  for (const NodeTime& time : after) {
    result.push_back({time.op, time.name, 1000 * time.seconds / static_cast<double>(runs),
                      total == 0 ? 0 : time.seconds / total});
  }
  return result;
}

std::map<std::string, Shape> shapes(const Feed& feed) {
  std::map<std::string, Shape> result;
  for (const auto& [name, tensor] : feed) result.emplace(name, tensor.shape());
  return result;
}

// The ONNX files in another runtime, as rows below ours.
void add_other_runtime(const Args& args, const std::vector<Contender>& all, const Feed& feed,
                       BenchResults& bench) {
  const TimingOptions timing{.warmup = args.warmup.value_or(2),
                             .seconds = args.seconds.value_or(10)};
  for (const Contender& one : all) {
    if (one.model.origin.format != "onnx") continue;
    const Feed own = one.runner->own_names(feed);
    const OtherRuntime other = time_in_onnxruntime(one.file, own, timing, args.common.threads);
    BenchModel row;
    row.file = printable(one.file, 4096);
    row.runtime = other.name;
    row.inputs = shapes(own);
    row.timing = other.timing;
    row.speedup = bench.models.front().timing.median_ms / other.timing.median_ms;
    bench.models.push_back(std::move(row));
  }
}

void check_against(const Args& args, const std::vector<Contender>& all) {
  if (args.against.empty()) return;
  if (std::ranges::none_of(all, [](const Contender& c) { return c.model.origin.format == "onnx"; }))
    throw Error(Fault::kUsage, "--against onnxruntime reads ONNX: none of the models is ONNX");
}

// Runs all models on the same inputs, interleaved, and reports their times next to the first one's.
int bench_models(const Args& args, const CommandFiles& files) {
  if (args.models.empty())
    throw Error(Fault::kUsage, "MODEL is missing: a model to measure, or --kernels");
  passes_without(args.passes_off);  // a wrong name is told before models are read
  check_data_options(args.data);
  DataSet data;
  Feed feed;
  const MeasuredChoice measured = measured_by(args.machine);
  const std::vector<Contender> all = contenders(args, measured, data, feed);
  check_against(args, all);
  std::vector<std::function<void()>> bodies;
  for (const Contender& one : all) {
    one.runner->bind(feed);
    bodies.emplace_back([&one] { one.runner->executor().run_bound(); });
  }
  const std::vector<Timing> times = time_interleaved(bodies, {.warmup = args.warmup.value_or(2),
                                                              .seconds = args.seconds.value_or(10),
                                                              .interval_ms = args.interval});
  Results results;
  results.command = "bench";
  results.run = run_info(files, args.common);
  BenchResults& bench = results.bench.emplace();
  bench.machine = this_machine(args.common.threads);
  bench.interval_ms = args.interval;
  for (size_t i = 0; i < all.size(); ++i) {
    Executor& executor = all[i].runner->executor();
    BenchModel model;
    model.file = printable(all[i].file, 4096);
    model.inputs = shapes(all[i].runner->own_names(feed));
    model.timing = times[i];
    model.peak_bytes = executor.weight_bytes() + executor.activation_bytes();
    model.speedup = times[0].median_ms / times[i].median_ms;
    model.ran_dense = executor.ran_dense();
    if (args.profile) model.operators = profile(args, all[i], all[0].model, measured, data, feed);
    bench.models.push_back(std::move(model));
  }
  if (!args.against.empty()) add_other_runtime(args, all, feed, bench);
  emit(results, args.common);
  return kDone;
}

int run(const Args& args) {
  apply_common(args.common);
  CommandFiles files;
  for (const std::string& model : args.models) files.reads_model("MODEL", model);
  files.reads(args.data);
  files.reads("--machine", args.machine);
  files.writes(args.common);
  for (const double value : {args.warmup.value_or(0), args.seconds.value_or(0), args.interval}) {
    if (!(value >= 0 && value <= 86400))
      throw Error(Fault::kUsage, "--warmup, --seconds and --interval: expected 0 to 86400");
  }
  if (!args.kernels) return bench_models(args, files);
  if (!args.models.empty() || !args.against.empty() || !args.machine.empty())
    throw Error(Fault::kUsage, "--kernels takes no MODEL, no --against and no --machine");
  Results results;
  results.command = "bench";
  results.run = run_info(files, args.common);
  results.kernels = bench_kernels(args.kernel, args.seconds.value_or(0.2), args.common);
  emit(results, args.common);
  return kDone;
}

// Declares the arguments.
std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("MODEL", args->models, "models to measure, interleaved");
  app.add_option("--warmup", args->warmup, "seconds of warm-up per model (2)")->type_name("S");
  app.add_option("--seconds", args->seconds,
                 "seconds of measurement per model (10), or per row of --kernels (0.2)")
      ->type_name("S");
  app.add_option("--interval", args->interval,
                 "start one run every MS milliseconds, with cold caches")
      ->type_name("MS");
  app.add_flag("--profile-ops", args->profile, "report the time of each node");
  app.add_option("--against", args->against,
                 "time the ONNX models there too, in the Python package of ESPALIER_PYTHON, else "
                 "of python3: onnxruntime")
      ->type_name("RUNTIME")
      ->check(CLI::IsMember({"onnxruntime"}));
  add_machine(app, args->machine);
  add_pass_options(app, args->passes_off);
  add_data_options(app, args->data,
                   "inputs to run on (the first sample; random inputs if not given)");
  app.add_flag("--kernels", args->kernels, "measure the kernels alone, without a model")
      ->group("Kernels");
  const auto list = [&](const char* name, std::vector<std::string>& target, const char* type,
                        const char* what) {
    app.add_option(name, target, what)
        ->type_name(type)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->group("Kernels");
  };
  list("--shape", args->kernel.shapes, "MxK,..", "outputs x inputs (768x768)");
  list("--n", args->kernel.samples, "N,..", "samples (1,64)");
  list("--block", args->kernel.blocks, "LIST", "block shapes (all that have a kernel)");
  list("--sparsity", args->kernel.sparsities, "LIST", "shares of zero blocks (0.5,0.8,0.9)");
  list("--values", args->kernel.values, "LIST", "value types: f32, f16, bf16, i8 (f32)");
  add_common(app, args->common);
  add_footer(app,
             "  espalier bench model.onnx packed.nnef.tgz --inputs test_data_set_0 --threads 1\n"
             "  espalier bench --kernels --shape 384x384 --n 1 --sparsity 0.9");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command bench_command{"bench", "measure models side by side, or the kernels alone",
                                      add};

}  // namespace espalier
