#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/pack_job.h"
#include "apps/espalier/weights.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  std::string model;
};

// Subgraphs included.
std::vector<std::pair<std::string, size_t>> count_operators(const Model& model) {
  std::map<std::string, size_t> counts;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string&) {
    for (const Node& node : graph.nodes) ++counts[full_op_name(node)];
  });
  return {counts.begin(), counts.end()};
}

std::vector<TensorInfo> tensors(const Graph& graph, const std::vector<std::string>& names) {
  std::vector<TensorInfo> result;
  for (const std::string& name : names) {
    for (const Value& value : graph.values) {
      if (value.name != name) continue;
      result.push_back({name, std::string(name_of(value.dtype)), value.shape});
      break;
    }
  }
  return result;
}

LayerResult row_of(const Model& model, const Layer& layer) {
  const Weight& weight = weight_of(model, layer);
  LayerResult row = layer_row(layer, weight, weight);
  const bool diagonal = weight.is_sparse() ? weight.sparse().has_diagonal() : layer.square;
  if (weight.is_sparse() || is_float(weight.dtype())) {
    row.zeros = zero_share(weight, layer.fold, diagonal);
    const auto block = block_pattern(weight, layer.fold, layer.square);
    row.block = block ? to_string(*block) : "dense";
  } else {
    row.block = "dense";
  }
  return row;
}

int run(const Args& args) {
  apply_common(args.common);
  CommandFiles files;
  files.reads_model("MODEL", args.model);
  files.writes(args.common);
  const Model model = read_uncovered(args.model, args.common.threads);
  Results results;
  results.command = "inspect";
  InspectResults& found = results.inspect.emplace();
  found.file = {printable(args.model, 4096), model.origin.format, model.origin.bytes};
  found.operators = count_operators(model);
  found.inputs = tensors(model.graph, input_names(model));
  found.outputs = tensors(model.graph, output_names(model));
  for (const Layer& layer : select_layers(model, {})) {
    if (stored_weight(model, layer) != nullptr) found.layers.push_back(row_of(model, layer));
  }
  emit(results, args.common);
  return kDone;
}

std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("MODEL", args->model, "model to describe")->required();
  add_common(app, args->common);
  add_footer(app, "  espalier inspect model.onnx");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command inspect_command{
    "inspect", "describe a model: layers, shapes, zeros, block patterns, sizes", add};

}  // namespace espalier
