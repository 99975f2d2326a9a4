#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "lib/ir/node_kinds.h"
#include "lib/ir/uses.h"
#include "lib/ops/operator.h"
#include "lib/prune/select/fixed_transform.h"
#include "lib/prune/select/name_pattern.h"
#include "lib/prune/select/selection.h"
#include "lib/prune/select/weight_readers.h"

namespace espalier {
namespace {

constexpr std::string_view kTooSmall = "too small";

bool can_be_pruned(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// Depth multipliers above one too: each filter sees one channel.
bool is_depthwise(const Node& node, const Shape& shape) {
  if (node.op == "ConvTranspose")
    return !shape.empty() && shape[0] > 1 && shape[0] == int_attribute(node, "group", 1);
  return node.op == "Conv" && shape.size() > 1 && shape[1] == 1 &&
         int_attribute(node, "group", 1) > 1;
}

bool is_table(const WeightReading& reading, const Weight& weight) {
  return full_op_name(*reading.node) == "Gather" && reading.input == 0 &&
         is_float(weight.dtype()) && weight.shape().size() > 1;
}

std::string name_of_use(const WeightUse& use) {
  return use.prefix + use.graph->values[use.value].name;
}

const WeightReading* first_prunable(const WeightUse& use) {
  const auto found = std::ranges::find_if(use.readings, [](auto& r) { return r.fold.has_value(); });
  return found == use.readings.end() ? nullptr : &*found;
}

// The reader that would not stand pruning by the first reader's fold: one that multiplies by
// another matrix, or that uses the elements in another way.
std::string conflict(const WeightUse& use, const Fold& fold) {
  if (use.is_output) return "is also an output of the graph";
  for (const WeightReading& reading : use.readings) {
    if (!reading.fold) {
      return fmt::format("is also read by {} ({})", full_op_name(*reading.node), reading.label);
    }
    if (reading.fold != fold) {
      return fmt::format("is read by {} ({}) as another matrix", full_op_name(*reading.node),
                         reading.label);
    }
  }
  return {};
}

// Rows are the first axis where no operator says otherwise.
Fold plain_fold(const Shape& shape) {
  const size_t count = element_count(shape);
  const size_t rows = shape.empty() || count == 0 ? 1 : static_cast<size_t>(shape[0]);
  return {1, rows, count / rows, false};
}

Layer make_layer(const WeightUse& use, const Node& node, std::string label, size_t input,
                 const Fold& fold) {
  Layer layer;
  layer.node = std::move(label);
  layer.op = full_op_name(node);
  layer.weight = name_of_use(use);
  layer.prefix = use.prefix;
  layer.value = use.value;
  layer.input = input;
  const Value& value = use.graph->values[use.value];
  layer.shape = use.weight != nullptr ? use.weight->shape() : value.shape.value();
  layer.dtype = use.weight != nullptr ? use.weight->dtype() : value.dtype;
  layer.fold = fold;
  layer.square = is_recurrent(node.op) && input == 2 && fold.rows == fold.cols;
  return layer;
}

// The layer of a use and the node that tells what it is; nothing for constants that are no weights
// (biases, shapes, indices). The reasons here are those that no option can lift.
struct Found {
  Layer layer;
  const Node* node;
};

// A value that is no constant of the model.
std::string why_unstored(const WeightUse& use) {
  if (std::ranges::count(use.graph->inputs, use.value) == 0) return "computed at run time";
  return use.prefix.empty() ? "an input of the model" : "a state of the loop that it is in";
}

bool is_quantized(std::string_view op) {
  constexpr auto kNames = std::to_array<std::string_view>(
      {"ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger",
       "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QGemm", "QMoE"});
  return op.starts_with("QLinear") || std::ranges::find(kNames, op) != kNames.end();
}

// Why a weight of an operator that espalier does not know is left out; nullopt for the operators
// that it knows, whose other inputs are no weights.
std::optional<std::string> why_unknown(const WeightReading& reading, const Weight& weight) {
  const Node& node = *reading.node;
  const Operator* known = find_operator(node.op, node.domain);
  if ((known != nullptr && known->prepare != nullptr) || is_control_flow(node)) return std::nullopt;
  const DType dtype = weight.dtype();
  const bool is_index = dtype == DType::kI64 || dtype == DType::kI32 || dtype == DType::kBool;
  if (is_index || dtype == DType::kString) return std::nullopt;
  if (node.domain == "com.microsoft.nchwc")
    return "laid out anew by onnxruntime: optimize the model at level extended, not all";
  if (is_quantized(node.op)) return "quantized: prune the model before it is quantized";
  return fmt::format("weights of {} are not pruned", full_op_name(node));
}

// The layer of a weight's first reading as a matrix, or of what reaches a product through other
// nodes or is an index table, with the reason why it is left out; nullopt for all other constants.
std::optional<Found> found_layer(const WeightUse& use, const SelectOptions& options) {
  if (const WeightReading* reading = first_prunable(use)) {
    Found found{make_layer(use, *reading->node, reading->label, reading->input, *reading->fold),
                reading->node};
    Layer& layer = found.layer;
    if (use.weight == nullptr) {
      layer.left_out = why_unstored(use);
    } else if (!can_be_pruned(layer.dtype)) {
      layer.left_out = fmt::format("type {} is not pruned", name_of(layer.dtype));
    } else {
      layer.left_out = conflict(use, layer.fold);
    }
    return found;
  }
  if (use.weight == nullptr || use.weight->shape().size() < 2) return std::nullopt;
  const Fold fold = plain_fold(use.weight->shape());
  if (!use.indirect.empty()) {
    const IndirectReading& reading = use.indirect.front();
    Found found{make_layer(use, *reading.node, reading.label, 0, fold), reading.node};
    found.layer.square = false;
    found.layer.left_out = fmt::format("computed at run time: reaches {} through {}",
                                       full_op_name(*reading.node), reading.through);
    return found;
  }
  const auto table =
      std::ranges::find_if(use.readings, [&](auto& r) { return is_table(r, *use.weight); });
  if (table == use.readings.end()) {
    for (const WeightReading& reading : use.readings) {
      const auto why = fold.count() == 0 ? std::nullopt : why_unknown(reading, *use.weight);
      if (!why) continue;
      Found found{make_layer(use, *reading.node, reading.label, reading.input, fold), reading.node};
      found.layer.square = false;
      found.layer.left_out = *why;
      return found;
    }
    return std::nullopt;
  }
  if (fold.count() < options.min_weights) return std::nullopt;
  Found found{make_layer(use, *table->node, table->label, 0, fold), table->node};
  found.layer.left_out = "a table read by Gather";
  return found;
}

// What the options leave out, in the order in which a user can lift it.
class Filter {
 public:
  explicit Filter(const SelectOptions& options) : options_(options) {
    for (const std::string& pattern : options.exclude) exclude_.emplace_back(pattern);
    for (const std::string& pattern : options.force) force_.emplace_back(pattern);
  }

  std::string reason(const Found& found) const {
    const Layer& layer = found.layer;
    if (!options_.operators.empty() && std::ranges::count(options_.operators, layer.op) == 0)
      return fmt::format("operator {} is not selected", layer.op);
    for (size_t i = 0; i < exclude_.size(); ++i) {
      if (exclude_[i].found_in(layer.weight))
        return fmt::format("excluded by pattern \"{}\"", options_.exclude[i]);
    }
    if (const std::string word = transform_word(layer); !word.empty() && !forced(layer))
      return fmt::format("a fixed transform by its name ({})", word);
    if (!options_.depthwise && is_depthwise(*found.node, layer.shape))
      return "a depthwise convolution";
    if (layer.weights() < options_.min_weights) {
      return fmt::format("{}: {} weights, expected at least {}", kTooSmall, layer.weights(),
                         options_.min_weights);
    }
    return {};
  }

  // A weight that its exporter named anew ("onnx::MatMul_470", "193") is known by its node.
  static std::string transform_word(const Layer& layer) {
    const size_t digits = layer.weight.find_first_not_of("0123456789");
    const bool anonymous = layer.weight.starts_with("onnx::") || digits == std::string::npos;
    return fixed_transform_word(anonymous ? layer.node : layer.weight);
  }

 private:
  bool forced(const Layer& layer) const {
    return std::ranges::any_of(force_, [&](auto& p) { return p.found_in(layer.weight); });
  }

  const SelectOptions& options_;
  std::vector<NamePattern> exclude_, force_;
};

// All weights of the first and of the last node that multiply by learned weights, however small.
void keep_first_and_last(std::vector<Found>& found) {
  const auto learned = [](const Found& f) {
    return f.layer.op != "Gather" && Filter::transform_word(f.layer).empty();
  };
  const auto first = std::ranges::find_if(found, learned);
  const auto last = std::find_if(found.rbegin(), found.rend(), learned);
  if (first == found.end()) return;
  const Node *first_node = first->node, *last_node = last->node;
  for (auto& [layer, node] : found) {
    if (!layer.left_out.empty()) continue;
    if (node == first_node) layer.left_out = "the first layer";
    if (node == last_node) layer.left_out = "the last layer";
  }
}

// Two subgraphs of one name: which of them holds the weight could not be said any more.
void leave_out_ambiguous(const Graph& graph, std::vector<Found>& found) {
  std::map<std::string, size_t> graphs;
  for_each_graph(graph, [&](const Graph&, const std::string& prefix) { ++graphs[prefix]; });
  for (auto& [layer, node] : found) {
    if (layer.left_out.empty() && graphs[layer.prefix] > 1)
      layer.left_out = "is in one of several subgraphs with the same name";
  }
}

}  // namespace

bool is_too_small(const Layer& layer) { return layer.left_out.starts_with(kTooSmall); }

std::vector<Layer> select_layers(const Model& model, const SelectOptions& options) {
  const Filter filter(options);
  const std::vector<WeightUse> uses = weight_uses(model.graph);
  std::vector<Found> found;
  for (const WeightUse& use : uses) {
    if (auto layer = found_layer(use, options)) found.push_back(std::move(*layer));
  }
  leave_out_ambiguous(model.graph, found);
  for (Found& f : found) {
    if (f.layer.left_out.empty()) f.layer.left_out = filter.reason(f);
  }
  if (options.keep_first_last) keep_first_and_last(found);
  std::vector<Layer> layers;
  layers.reserve(found.size());
  for (Found& f : found) layers.push_back(std::move(f.layer));
  return layers;
}

}  // namespace espalier
