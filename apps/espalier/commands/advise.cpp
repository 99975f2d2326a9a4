#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/cost_model.h"
#include "apps/espalier/pack_job.h"
#include "apps/espalier/run_checks.h"
#include "apps/espalier/time_predictor.h"
#include "apps/espalier/weights.h"
#include "lib/base/log.h"
#include "lib/prune/plan.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  std::string model, machine;
  std::vector<std::string> blocks;
  DataOptions data;
};

// Where packed time is measured: the lines go through these.
constexpr double kMeasured[] = {0.6, 0.9};

// One model, its layers, and the feed that it runs with.
struct Subject {
  PackJob job;  // as before pruning
  CheckInputs inputs;
  ExecutorOptions options;
};

Subject subject_of(const Args& args) {
  Subject subject;
  PackJob& job = subject.job;
  job.command = "advise";
  job.input = args.model;
  job.before = job.masked = job.packed =
      decode_weights(read_uncovered(args.model, args.common.threads));
  job.data = args.data;
  job.data_path = args.data.inputs;
  add_layers(job);
  subject.inputs = check_inputs(job, args.common);
  if (!subject.inputs.not_run.empty())
    throw Error(Fault::kUnsupported, "no time can be measured: " + subject.inputs.not_run);
  if (std::ranges::all_of(job.rows, [](const LayerResult& row) { return !row.left_out.empty(); }))
    throw Error(Fault::kUnsupported,
                fmt::format("{}: no weight that can be pruned", printable(args.model, 4096)));
  subject.options = {.threads = args.common.threads, .always_packed = true};
  return subject;
}

// What pruning in one block shape would do.
struct BlockTimes {
  BlockShape block;
  TimeLine model;
  std::vector<std::optional<TimeLine>> layers;
};

PrunePlan random_plan(const Subject& subject, BlockShape block, double sparsity, uint64_t seed,
                      ThreadPool& pool) {
  PruneOptions options;
  options.block = block;
  options.sparsity = sparsity;
  options.method = "random";
  options.refit = false;
  options.seed = seed;
  return make_plan(subject.job.before, options, pool);
}

// Runs the whole model, dense and packed at random places, in turns.
BlockTimes measure(const Subject& subject, BlockShape block, uint64_t seed, ThreadPool& pool,
                   Progress& progress) {
  double dense = 0;
  std::vector<TimePoint> whole;
  const size_t layers = subject.job.layers.size();
  std::vector<std::vector<TimePoint>> points(layers);
  std::vector<double> layer_dense(layers);
  for (const double sparsity : kMeasured) {
    PackJob job = subject.job;
    const PrunePlan plan = random_plan(subject, block, sparsity, seed, pool);
    job.masked = apply_plan(job.before, plan, pool);
    job.packed = pack_weights(job.before, plan, pool);
    const SpeedChecks speed = measure_speed(job, subject.inputs, subject.options);
    dense += speed.ms_dense / std::size(kMeasured);
    whole.push_back({sparsity, speed.ms_packed});
    for (size_t i = 0; i < layers; ++i) {
      if (!speed.layer_dense[i] || !speed.layer_packed[i]) continue;
      layer_dense[i] += *speed.layer_dense[i] / std::size(kMeasured);
      points[i].push_back({sparsity, *speed.layer_packed[i]});
    }
    progress.step();
  }
  BlockTimes times{block, fit_line(dense, whole), {}};
  for (size_t i = 0; i < layers; ++i) {
    times.layers.push_back(points[i].empty() ? std::nullopt
                                             : std::optional(fit_line(layer_dense[i], points[i])));
  }
  return times;
}

TimeLine sum(const TimeLine& a, const TimeLine& b) {
  return {a.dense + b.dense, a.fixed + b.fixed, a.per_density + b.per_density};
}

// From a measurement of another machine: the products of the layers alone.
BlockTimes predict_all(const Subject& subject, const KernelResults& machine, BlockShape block,
                       const SampleCounter& samples) {
  BlockTimes times{block, {}, {}};
  for (size_t i = 0; i < subject.job.layers.size(); ++i) {
    const Layer& layer = subject.job.layers[i];
    const SampleCounter::Seen& seen = samples.of(i);
    times.layers.emplace_back();
    if (!layer.left_out.empty() || seen.products == 0) continue;
    TimeLine line =
        predict(machine, block, layer.fold.rows * layer.fold.parts, layer.fold.cols, seen.n);
    const auto products = static_cast<double>(seen.products);
    line = {line.dense * products, line.fixed * products, line.per_density * products};
    times.layers.back() = line;
    times.model = sum(times.model, line);
  }
  return times;
}

AdviseRow row_of(const TimeLine& line, BlockShape block) {
  AdviseRow row;
  row.block = to_string(block);
  row.break_even = line.break_even();
  row.worth = line.worth();
  row.ms_dense = line.dense;
  row.ms_packed_80 = line.packed(0.8);
  row.ms_packed_90 = line.packed(0.9);
  return row;
}

// The block that is quickest at 80 % zeros.
const BlockTimes& best_of(const std::vector<BlockTimes>& all) {
  return *std::ranges::min_element(all, [](const BlockTimes& a, const BlockTimes& b) {
    return a.model.packed(0.8) < b.model.packed(0.8);
  });
}

// The model's row in its best block, one row per block, and one row per layer in that layer's best
// block.
AdviseResults results_of(const Subject& subject, const std::vector<BlockTimes>& all,
                         const SampleCounter& samples) {
  AdviseResults results;
  for (const BlockTimes& times : all) results.blocks.push_back(row_of(times.model, times.block));
  results.model = row_of(best_of(all).model, best_of(all).block);
  for (size_t i = 0; i < subject.job.layers.size(); ++i) {
    const LayerResult& layer = subject.job.rows[i];
    const BlockTimes* best = nullptr;
    for (const BlockTimes& times : all) {
      if (!times.layers[i]) continue;
      if (best == nullptr || times.layers[i]->packed(0.8) < best->layers[i]->packed(0.8))
        best = &times;
    }
    AdviseRow row;
    if (best != nullptr) row = row_of(*best->layers[i], best->block);
    row.name = layer.name;
    row.weight = layer.weight;
    row.matrix = {static_cast<int64_t>(layer.matrix_rows), static_cast<int64_t>(layer.matrix_cols)};
    row.n = samples.of(i).n;
    row.left_out = layer.left_out;
    if (best == nullptr && row.left_out.empty())
      row.left_out =
          "the time is counted at another weight of the same operator, or was not measured";
    results.layers.push_back(std::move(row));
  }
  return results;
}

std::vector<BlockShape> blocks_of(const Args& args) {
  std::vector<std::string> names = args.blocks;
  if (names.empty()) names = {"16x1", "16x4", "8x1", "8x4", "4x8", "1x4", "1x1"};
  std::vector<BlockShape> blocks;
  for (const std::string& name : names) blocks.push_back(parse_block_shape(name));
  return blocks;
}

// Measures or predicts the model in each block at two shares of zeros and reports the fitted lines.
int run(const Args& args) {
  apply_common(args.common);
  CommandFiles files;
  files.reads_model("MODEL", args.model);
  files.reads(args.data);
  files.reads("--machine", args.machine);
  files.writes(args.common);
  const std::vector<BlockShape> blocks = blocks_of(args);
  std::optional<KernelResults> machine;
  if (!args.machine.empty()) machine = read_machine(args.machine);
  const Subject subject = subject_of(args);
  const SampleCounter samples = count_samples(subject.job, subject.inputs, subject.options);
  ThreadPool pool(args.common.threads);
  std::vector<BlockTimes> all;
  if (machine) {
    for (const BlockShape block : blocks) {
      try {
        all.push_back(predict_all(subject, *machine, block, samples));
      } catch (Error& error) {
        error.add_context(printable(args.machine, 4096));
        throw;
      }
    }
  } else {
    Progress progress("advise", blocks.size() * std::size(kMeasured));
    for (const BlockShape block : blocks)
      all.push_back(measure(subject, block, args.common.seed, pool, progress));
  }
  Results results;
  results.command = "advise";
  results.advise = results_of(subject, all, samples);
  results.advise->machine = machine ? machine->machine : this_machine(args.common.threads);
  results.advise->measured_here = !machine;
  results.advise->random_inputs = subject.inputs.random;
  emit(results, args.common);
  return kDone;
}

std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("MODEL", args->model, "model whose pruning is considered")->required();
  app.add_option("--block", args->blocks, "block shapes to compare (16x1,16x4,8x1,8x4,4x8,1x4,1x1)")
      ->type_name("LIST")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--machine", args->machine,
                 "predict for the machine on which `bench --kernels --json F` ran instead of "
                 "measuring on this one")
      ->type_name("F");
  add_data_options(app, args->data,
                   "inputs to measure with (the first sample; random inputs if not given)");
  add_common(app, args->common);
  add_footer(
      app,
      "  espalier advise model.onnx --block 16x1,8x4 --inputs test_data_set_0 --threads 1\n"
      "  espalier bench --kernels --block 16x1,8x4 --n 1,16,64 --json target.json   # there\n"
      "  espalier advise model.onnx --block 16x1,8x4 --machine target.json          # here");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command advise_command{
    "advise",
    "estimate whether pruning makes a model faster, with which block and from which sparsity", add};

}  // namespace espalier
