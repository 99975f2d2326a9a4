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

Statistics collected(const Args& args, CalibrateResults& results, NodeNames& nodes) {
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
  return statistics;
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

int run(const Args& args) {
  apply_common(args.common);
  check(args);
  const CommandFiles files = checked_files(args);
  Results results;
  results.command = "calibrate";
  results.run = run_info(files, args.common);
  CalibrateResults& found = results.calibrate.emplace();
  Statistics statistics;
  NodeNames nodes;  // none where files were merged
  if (!args.model.empty()) statistics = collected(args, found, nodes);
  for (const std::string& file : args.merge) statistics = merged(statistics, read_statistics(file));
  std::vector<CalibratedLayer> rows;
  for (const LayerStatistics& layer : statistics.layers) rows.push_back(row_of(layer, nodes));
  found.layers.insert(found.layers.begin(), rows.begin(), rows.end());
  found.output = printable(args.output, 4096);
  write_statistics(args.output, statistics);
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
                 "memory for the sums; larger sums are collected in several passes (2 GiB)")
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
