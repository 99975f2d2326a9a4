#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/common_options.h"
#include "apps/espalier/data_options.h"
#include "apps/espalier/layer_row.h"
#include "apps/espalier/run_info.h"
#include "formats/format.h"
#include "formats/model_facts.h"
#include "lib/ir/named_weights.h"
#include "lib/passes/recurrent_loops.h"
#include "lib/passes/uncover_weights.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/prune/pack/block_pattern.h"
#include "lib/prune/pack/magnitudes.h"
#include "lib/prune/pack/near_zeros.h"
#include "lib/prune/pack/nm_pattern.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/select/other_constants.h"
#include "lib/search/multiply_adds.h"
#include "lib/verify/data.h"
#include "lib/verify/input_names.h"

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
      TensorInfo& info = result.emplace_back();
      info = {name, std::string(name_of(value.dtype)), value.shape, {}};
      const bool named =
          std::ranges::any_of(value.dimension_names, [](auto& n) { return !n.empty(); });
      if (named) info.dimension_names = value.dimension_names;
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
    if (block && block->area() == 1) {
      if (const auto nm = nm_pattern(weight, layer)) row.block = to_string(*nm);
    }
  } else {
    row.block = "dense";
  }
  return row;
}

// Elements of the floating-point constants: what training found, and tables like it.
uint64_t count_parameters(const Model& model) {
  uint64_t count = 0;
  for (const auto& [name, weight] : named_weights(model)) {
    if (is_float(weight->dtype())) count += element_count(weight->shape());
  }
  return count;
}

std::vector<std::pair<std::optional<double>, double>> shares_of(const Magnitudes& magnitudes) {
  std::vector<std::pair<std::optional<double>, double>> shares;
  const auto total = static_cast<double>(magnitudes.total());
  for (size_t i = 0; total != 0 && i < magnitudes.counts.size(); ++i) {
    const bool limited = i < Magnitudes::kLimits.size();
    shares.emplace_back(limited ? std::optional(Magnitudes::kLimits[i]) : std::nullopt,
                        static_cast<double>(magnitudes.counts[i]) / total);
  }
  return shares;
}

void add_facts(const Model& model, InspectResults& found) {
  const ModelFacts facts = facts_of(model);
  found.version = facts.version;
  found.producer = facts.producer;
  found.opsets = facts.opsets;
  found.parameters = count_parameters(model);
}

// One run on random inputs. A large model is not run just to be looked at.
void add_multiply_adds(const Model& model, const CommonOptions& common, InspectResults& found) {
  constexpr uint64_t kMostParameters = uint64_t{64} << 20;
  if (found.parameters > kMostParameters) {
    found.not_run = fmt::format("more than {} parameters", format_count(kMostParameters));
    return;
  }
  const Model dense = decode_weights(model);
  const Evaluation evaluation = read_evaluation(dense, {}, {}, common);
  found.not_run = evaluation.not_run;
  if (!evaluation.not_run.empty()) return;
  unless_random(true, found.not_run, [&] {
    found.multiply_adds = multiply_adds(dense, evaluation, {.threads = common.threads});
  });
  for (const auto& [name, tensor] : evaluation.feeds.front())
    found.run_inputs.emplace(name, tensor.shape());
}

void add_other_constants(const Model& model, const std::vector<Layer>& layers,
                         const std::vector<UncoveredModel::Part>& parts, InspectResults& found) {
  for (const auto& [weight, node, op, shape, dtype, reason] : other_constants(model, layers))
    found.other_constants.push_back({weight, node, op, shape, std::string(name_of(dtype)), reason});
  for (const auto& [name, weight, shape, dtype] : parts) {
    if (shape.size() < 2) continue;
    const auto layer = std::ranges::find(layers, weight, &Layer::weight);
    if (layer == layers.end()) continue;
    found.other_constants.push_back(
        {name, layer->node, layer->op, shape, std::string(name_of(dtype)), "a part of " + weight});
  }
}

int run(const Args& args) {
  apply_common(args.common);
  CommandFiles files;
  files.reads_model("MODEL", args.model);
  files.writes(args.common);
  Model model = read_model(args.model);
  std::vector<UncoveredModel::Part> parts;
  {
    ThreadPool pool(args.common.threads);
    model = with_recurrent_layers(std::move(model), pool);
    if (auto uncovered = uncover_weights(model, pool)) {
      model = std::move(uncovered->model);
      parts = std::move(uncovered->parts);
    }
  }
  Results results;
  results.command = "inspect";
  results.run = run_info(files, args.common);
  InspectResults& found = results.inspect.emplace();
  found.file = {printable(args.model, 4096), model.origin.format, model.origin.bytes};
  found.operators = count_operators(model);
  found.inputs = tensors(model.graph, kept_input_names(model));
  found.outputs = tensors(model.graph, output_names(model));
  add_facts(model, found);
  add_multiply_adds(model, args.common, found);
  Magnitudes magnitudes;
  const std::vector<Layer> layers = select_layers(model, {});
  for (const Layer& layer : layers) {
    if (stored_weight(model, layer) == nullptr) {
      found.layers.push_back(unstored_row(layer));
      found.layers.back().block = "dense";
      continue;
    }
    found.layers.push_back(row_of(model, layer));
    if (layer.left_out.empty()) add_magnitudes(weight_of(model, layer), magnitudes);
    weight_of(model, layer).give_back();
  }
  add_other_constants(model, layers, parts, found);
  found.magnitudes = shares_of(magnitudes);
  const std::string note = near_zero_note(model, layers);
  if (!note.empty()) results.notes.push_back(note);
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
