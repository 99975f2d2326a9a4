#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/common_options.h"
#include "apps/espalier/data_options.h"
#include "apps/espalier/read_uncovered.h"
#include "apps/espalier/run_info.h"
#include "formats/format.h"
#include "lib/base/error.h"
#include "lib/calibrate/statistics_file.h"
#include "lib/search/calibration.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  DataOptions data;
  SelectOptions select;
  CollectOptions collect;
  std::string model, output;
  std::vector<std::string> merge;
  size_t keep_inputs = size_t{32} << 20;
};

void check(const Args& args) {
  if (args.output.empty()) throw Error(Fault::kUsage, "-o STATS is missing: the file to write");
  if (args.model.empty() != args.data.inputs.empty())
    throw Error(Fault::kUsage, "MODEL and --inputs DATA require each other");
  check_data_options(args.data);
  if (args.model.empty() && args.merge.empty())
    throw Error(Fault::kUsage, "MODEL with --inputs DATA, or --merge FILE ..., is required");
}

// Weight -> node that reads it.
using NodeNames = std::map<std::string, std::string>;

StatisticsFile collected(const Args& args, CalibrateResults& results, NodeNames& nodes) {
  const Model model = runnable(read_uncovered(args.model, args.common.threads));
  const DataSet data = data_set(args.data.inputs, model, args.data);
  const std::vector<Feed> feeds = make_feeds(model, data);
  const std::vector<Layer> layers = select_layers(model, args.select);
  CollectOptions options = args.collect;
  options.threads = args.common.threads;
  Statistics statistics = calibrate(model, layers, data, feeds, options);
  for (const Layer& layer : layers) nodes.emplace(layer.weight, layer.node);
  results.model = printable(args.model, 4096);
  results.feeds = feeds.size();
  for (const Layer& layer : layers) {
    if (statistics.find(layer.weight) != nullptr) continue;
    const std::string why = layer.left_out.empty() ? "not multiplied in any run" : layer.left_out;
    results.layers.push_back({layer.weight, layer.node, layer.fold.parts, layer.fold.cols, 0, why});
  }
  KeptInputs inputs{feeds, feeds.size(), data.states, data.token_mask};
  if (args.keep_inputs == 0) inputs = {};
  return {std::move(statistics), kept_inputs(std::move(inputs), args.keep_inputs)};
}

// Inputs are joined where both keep some of theirs: else they would not be those of the statistics.
void join(const StatisticsFile& other, size_t budget, StatisticsFile& to) {
  if (to.statistics.layers.empty()) {
    to = other;
    to.inputs = kept_inputs(std::move(to.inputs), budget);
  } else {
    const bool both = to.inputs.of > 0 && other.inputs.of > 0;
    to.inputs = both ? merged(to.inputs, other.inputs, budget) : KeptInputs();
    to.statistics = merged(to.statistics, other.statistics);
  }
  if (budget == 0) to.inputs = {};
}

CalibratedLayer row_of(const LayerStatistics& layer, const NodeNames& nodes) {
  const auto node = nodes.find(layer.weight);
  CalibratedLayer row{
      layer.weight, node == nodes.end() ? "" : node->second, layer.inputs.size(), 0, 0, ""};
  for (const InputMoments& input : layer.inputs) {
    row.inputs = input.mean.count();
    const bool first = &input == &layer.inputs.front();
    row.samples = first ? input.samples : std::min<uint64_t>(row.samples, input.samples);
  }
  return row;
}

// Nothing that is read is replaced, but for statistics that are joined to: -o may be one of
// --merge.
CommandFiles checked_files(const Args& args) {
  CommandFiles files;
  files.reads_model("MODEL", args.model);
  files.reads(args.data);
  files.writes("-o", args.output);
  files.writes(args.common);
  return files;
}

// Collects, joins, writes and reports.
int run(const Args& args) {
  apply_common(args.common);
  check(args);
  const CommandFiles files = checked_files(args);
  Results results;
  results.command = "calibrate";
  results.run = run_info(files, args.common);
  CalibrateResults& found = results.calibrate.emplace();
  StatisticsFile made;
  NodeNames nodes;  // none where files were merged
  if (!args.model.empty()) made = collected(args, found, nodes);
  for (const std::string& file : args.merge)
    join(read_statistics_file(file), args.keep_inputs, made);
  const Statistics& statistics = made.statistics;
  std::vector<CalibratedLayer> rows;
  for (const LayerStatistics& layer : statistics.layers) rows.push_back(row_of(layer, nodes));
  found.layers.insert(found.layers.begin(), rows.begin(), rows.end());
  found.output = printable(args.output, 4096);
  results.notes.push_back(
      made.inputs.feeds.empty()
          ? std::string("the file keeps no inputs")
          : fmt::format("the file keeps {} of {} feeds", made.inputs.feeds.size(), made.inputs.of));
  write_statistics(args.output, statistics, made.inputs);
  emit(results, args.common);
  return kDone;
}

// Declares the arguments.
std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("MODEL", args->model, "model to run");
  app.add_option("-o,--output", args->output, "file to write")->type_name("STATS");
  app.add_option("--merge", args->merge, "merge these statistics files of the same model")
      ->type_name("STATS ...");
  app.add_option("--min-weights", args->select.min_weights, "leave out smaller weights (1024)")
      ->type_name("N");
  app.add_flag("--depthwise", args->select.depthwise, "include depthwise convolutions");
  app.add_option("--force", args->select.force,
                 "include fixed transforms with these names; repeatable")
      ->type_name("REGEX")
      ->allow_extra_args(false);
  app.add_option("--positions", args->collect.positions,
                 "positions sampled per image in a convolution, 0 for all (4096)")
      ->type_name("N");
  app.add_option("--calib-memory", args->collect.memory_bytes,
                 "memory for the sums; larger sums are collected in several passes (2 GiB for a "
                 "layer, 512 MiB for a pass of several)")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(true));
  app.add_option("--keep-inputs", args->keep_inputs,
                 "bytes of inputs that the file keeps, so that prune chooses by the outputs as it "
                 "does with the inputs themselves; 0 keeps none (32 MiB)")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(true));
  add_data_options(app, args->data, "calibration inputs, unlabelled");
  add_mask_tokens(app, args->data);
  add_common(app, args->common);
  add_footer(app,
             "  espalier calibrate model.onnx --inputs input_x.npy -o stats.safetensors\n"
             "  espalier calibrate --merge stats.safetensors more.safetensors -o all.safetensors");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command calibrate_command{"calibrate",
                                          "collect the input statistics that prune uses", add};

}  // namespace espalier
