#include "lib/passes/uncover_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "lib/ir/node_kinds.h"
#include "lib/ir/scope.h"
#include "lib/ir/uses.h"
#include "lib/passes/known_values.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"

namespace espalier {
namespace {

// The integers less their zero point, times the scale of each output, in the block shape that takes
// the fewest bytes; nothing where that is not `value` to the bit.
std::optional<SparseMatrix> packed_integers(const Tensor& value, const Tensor& scale, int64_t axis,
                                            const Fold& fold) {
  const Shape& shape = value.shape();
  const auto rank = static_cast<int64_t>(shape.size());
  const std::vector<float> scales = to_f32(scale);
  if (axis < 0) axis += rank;
  if (scales.empty() || value.count() == 0) return std::nullopt;
  if (scales.size() > 1 && (scale.shape().size() != 1 || axis < 0 || axis >= rank ||
                            shape[static_cast<size_t>(axis)] != scale.shape()[0])) {
    return std::nullopt;
  }
  for (const float one : scales) {
    if (!std::isfinite(one) || one < 0) return std::nullopt;
  }
  size_t inner = 1;
  for (int64_t i = axis + 1; i < rank && scales.size() > 1; ++i)
    inner *= static_cast<size_t>(shape[static_cast<size_t>(i)]);
  SparseMatrix like;
  like.shape = shape;
  like.fold = fold;
  like.values = Tensor::zeros(DType::kI8, {0, 1, 1});
  std::vector<float> of_outputs;
  for (size_t part = 0; part < fold.parts; ++part) {
    for (size_t row = 0; row < fold.rows; ++row)
      of_outputs.push_back(scales[fold.offset(part, row, 0) / inner % scales.size()]);
  }
  like.scale = Tensor::of<float>({static_cast<int64_t>(of_outputs.size())}, of_outputs);
  constexpr auto kBlocks = std::to_array<BlockShape>(
      {{16, 4}, {16, 1}, {8, 4}, {8, 1}, {4, 8}, {4, 4}, {4, 1}, {1, 8}, {1, 4}, {1, 1}});
  std::optional<BlockMask> best;
  size_t fewest = SIZE_MAX;
  for (const BlockShape block : kBlocks) {
    BlockMask mask = nonzero_blocks(value, fold, block, false);
    const size_t kept = mask.kept_blocks();
    const size_t bytes =
        kept * block.area() + index_bytes({fold, block, kept, DType::kI8, value.dtype()});
    if (bytes >= fewest) continue;
    fewest = bytes;
    best = std::move(mask);
  }
  SparseMatrix packed = with_values_like(pack_blocks(value, fold, *best, false), like);
  // -128, zero points far from the middle and scales along the inputs do not fit.
  if (!same_bits(decode(packed), value)) return std::nullopt;
  return packed;
}

// A weight to be, and who reads it.
struct Uncovered {
  Made made;
  std::string name;
  bool accepted = true;
};
struct Consumer {
  const KnownGraph* scope;
  size_t node, input, uncovered;
};

class Uncovering {
 public:
  Uncovering(const Model& model, Integers integers, ThreadPool& pool)
      : integers_(integers), root_(known_graph(model.graph)) {
    evaluate_known(*root_, model.origin.opset, pool);
    find_consumers(*root_);
    find_owners(*root_);
  }

  /// Nothing where no weight can be uncovered.
  std::optional<Graph> graph() {
    // Refusing one weight may keep constants alive that others are made of.
    for (bool again = true; again;) {
      if (std::ranges::none_of(uncovered_, &Uncovered::accepted)) return std::nullopt;
      for (size_t i = 0; i < uncovered_.size(); ++i)
        uncovered_[i].name = "\x01" + std::to_string(i);
      still_there_.clear();
      build(*root_);
      again = false;
      for (Uncovered& one : uncovered_) {
        if (!one.accepted || sources_are_gone(one)) continue;
        one.accepted = false;
        again = true;
      }
    }
    name_all();
    Graph graph = build(*root_);
    for (Uncovered& one : uncovered_) {
      if (one.accepted) store(graph, one);
    }
    return graph;
  }

  /// Of what is uncovered, after graph().
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const Uncovered& one : uncovered_) {
      if (one.accepted) result.push_back(one.name);
    }
    return result;
  }

  /// The constants that are gone, in the order of the weights that were made of them.
  std::vector<UncoveredModel::Part> parts() const {
    std::vector<UncoveredModel::Part> result;
    for (const Uncovered& one : uncovered_) {
      if (!one.accepted) continue;
      for (const Weight* source : one.made.sources) {
        const auto& [scope, value] = owners_.at(source);
        const std::string& name = scope->graph().values[value].name;
        if (name != one.name) result.push_back({name, one.name, source->shape(), source->dtype()});
      }
    }
    std::ranges::sort(result, {}, &UncoveredModel::Part::name);
    return result;
  }

 private:
  void find_consumers(KnownGraph& scope) {
    walk(
        scope, false,
        [&](const Node& node, size_t index) {
          const Operator* entry = runnable_operator(node);
          if (entry == nullptr || entry->fold == nullptr) return;
          for (size_t input = 0; input < node.inputs.size(); ++input) {
            const Place place = place_in(scope, node.inputs[input]);
            if (place.scope == nullptr || weight_at(place) != nullptr) continue;
            const auto made = place.scope->made.find(place.value);
            if (made == place.scope->made.end()) continue;
            const auto fold = entry->fold(node, input, made->second.value.shape());
            if (!fold || fold->count() != made->second.value.count()) continue;
            if (const auto integers = dequantized(place, made->second.value, *fold)) {
              consumers_.push_back({&scope, index, input, number_of(*integers)});
            } else if (is_worth(made->second)) {
              consumers_.push_back({&scope, index, input, number_of(made->second)});
            }
          }
        },
        [this](KnownGraph& inner) { find_consumers(inner); });
  }

  // The weight as packed i8 values, where DequantizeLinear makes it of constant integers.
  std::optional<Made> dequantized(const Place& place, const Tensor& value, const Fold& fold) const {
    const std::vector<Node>& nodes = place.scope->graph().nodes;
    const auto maker = std::ranges::find_if(nodes, [&](const Node& node) {
      return std::ranges::count(node.outputs, place.value) != 0;
    });
    if (maker == nodes.end() || !is_op(*maker, "DequantizeLinear") || maker->inputs.size() < 2 ||
        value.dtype() != DType::kF32) {
      return std::nullopt;
    }
    const Place from = place_in(*place.scope, maker->inputs[0]);
    const Place steps = place_in(*place.scope, maker->inputs[1]);
    if (from.scope == nullptr || steps.scope == nullptr) return std::nullopt;
    const Weight* integers = weight_at(from);
    const Weight* scale = weight_at(steps);
    if (integers == nullptr || scale == nullptr || integers->is_sparse() || scale->is_sparse() ||
        scale->dtype() != DType::kF32 ||
        (integers->dtype() != DType::kI8 && integers->dtype() != DType::kU8)) {
      return std::nullopt;
    }
    auto packed = packed_integers(value, scale->dense(), int_attribute(*maker, "axis", 1), fold);
    if (!packed) return std::nullopt;
    const size_t bytes = integers->dense().byte_size();
    if (integers_ == Integers::kIfSmaller && packed_bytes(*packed) > bytes - bytes / 64)
      return std::nullopt;
    return Made{value, {integers}, std::move(packed)};
  }

  static bool is_worth(const Made& made) {
    if (!is_float(made.value.dtype()) || made.sources.empty()) return false;
    size_t bytes = 0;
    for (const Weight* source : made.sources) {
      bytes += source->dense().bytes().size();
      // Identity: whoever looks for weights looks through it.
      if (source->shape() == made.value.shape() &&
          source->dense().bytes().data() == made.value.bytes().data()) {
        return false;
      }
    }
    return made.value.bytes().size() <= bytes;
  }

  size_t number_of(const Made& made) {
    for (size_t i = 0; i < uncovered_.size(); ++i) {
      if (!same_bits(uncovered_[i].made.value, made.value)) continue;
      if (uncovered_[i].made.packed.has_value() != made.packed.has_value()) continue;
      uncovered_[i].made.sources.insert(made.sources.begin(), made.sources.end());
      return i;
    }
    uncovered_.push_back({made, {}, true});
    return uncovered_.size() - 1;
  }

  void find_owners(KnownGraph& scope) {
    for (const auto& [value, weight] : scope.graph().weights) owners_[&weight] = {&scope, value};
    for (const Value& value : scope.graph().values) names_.insert(value.name);
    for (ValueId value = 0; value < scope.graph().values.size(); ++value) {
      if (scope.gives(value)) ++owners_of_name_[scope.graph().values[value].name];
    }
    for (auto& [place, inner] : scope.inner) find_owners(*inner);
  }

  bool sources_are_gone(const Uncovered& one) const {
    return std::ranges::none_of(one.made.sources, [&](const Weight* source) {
      return still_there_.contains(owners_.at(source));
    });
  }

  // Which of the constants the user knows it by: none that is a mask as long as there is another,
  // then the largest, then the first in the graph.
  const Weight* namesake(const Uncovered& one) const {
    using Rank = std::tuple<bool, size_t, ValueId>;
    const auto rank = [&](const Weight* source) {
      const Tensor& dense = source->dense();
      return Rank(!is_mask(dense), dense.bytes().size(), ~owners_.at(source).second);
    };
    return *std::ranges::max_element(one.made.sources, {}, rank);
  }

  // Zeros and ones alone.
  static bool is_mask(const Tensor& tensor) {
    return is_float(tensor.dtype()) &&
           std::ranges::all_of(to_f32(tensor), [](float x) { return x == 0 || x == 1; });
  }

  // The name of one constant that it is made of, which it replaces where that is possible.
  void name_all() {
    std::map<const Weight*, size_t> used;
    std::vector<const Weight*> namesakes;
    for (const Uncovered& one : uncovered_) {
      namesakes.push_back(one.accepted ? namesake(one) : nullptr);
      if (one.accepted) ++used[namesakes.back()];
    }
    for (size_t at = 0; at < uncovered_.size(); ++at) {
      Uncovered& one = uncovered_[at];
      if (!one.accepted) continue;
      const Weight* source = namesakes[at];
      const auto& [scope, value] = owners_.at(source);
      const std::string& name = scope->graph().values[value].name;
      one.name = name;
      if (used[source] == 1 && scope == root_.get() && owners_of_name_.at(name) == 1) continue;
      for (size_t i = 0; !names_.insert(one.name).second; ++i)
        one.name = fmt::format("{}.{}", name, i);
    }
  }

  // The graph with consumers reading what was uncovered, and without what only made that.
  Graph build(const KnownGraph& scope) {
    Graph graph = scope.graph();
    for (const auto& [place, inner] : scope.inner) {
      graph.nodes[place.first].attributes[place.second].value =
          std::make_shared<const Graph>(build(*inner));
    }
    for (const Consumer& consumer : consumers_) {
      const Uncovered& one = uncovered_[consumer.uncovered];
      if (consumer.scope != &scope || !one.accepted) continue;
      graph.nodes[consumer.node].inputs[consumer.input] = value_called(graph, one.name);
    }
    remove_unread(scope, graph);
    for (const auto& entry : graph.weights) still_there_.insert({&scope, entry.first});
    return graph;
  }

  static ValueId value_called(Graph& graph, const std::string& name) {
    const auto found = std::ranges::find(graph.values, name, &Value::name);
    if (found != graph.values.end()) return static_cast<ValueId>(found - graph.values.begin());
    return add_value(graph, name);
  }

  // Nodes that were run here, and constants that they read, as far as nobody needs them any more.
  void remove_unread(const KnownGraph& scope, Graph& graph) {
    std::vector<size_t> reads(graph.values.size(), 0);
    const auto count = [&](ValueId value) {
      if (value != kNoValue) ++reads[value];
    };
    std::ranges::for_each(graph.inputs, count);
    std::ranges::for_each(graph.outputs, count);
    std::unordered_set<std::string> captured;
    for (const Node& node : graph.nodes) {
      std::ranges::for_each(node.inputs, count);
      for (std::string& name : captured_by(node)) captured.insert(std::move(name));
    }
    const auto unread = [&](ValueId value) {
      return value == kNoValue ||
             (reads[value] == 0 && !captured.contains(graph.values[value].name));
    };
    std::vector<bool> gone(graph.nodes.size(), false);
    for (size_t i = graph.nodes.size(); i-- > 0;) {
      const Node& node = graph.nodes[i];
      const auto was_run = [&](ValueId output) { return scope.made.contains(output); };
      if (!std::ranges::any_of(node.outputs, was_run)) continue;
      if (!std::ranges::all_of(node.outputs, unread)) continue;
      gone[i] = true;
      for (const ValueId input : node.inputs) {
        if (input == kNoValue) continue;
        --reads[input];
        freed_.insert(graph.values[input].name);
      }
    }
    std::set<ValueId> dropped;
    for (const auto& [value, weight] : graph.weights) {
      if (unread(value) && freed_.contains(graph.values[value].name)) dropped.insert(value);
    }
    for (size_t i = 0; i < graph.nodes.size(); ++i) {  // Constant nodes
      const auto& outputs = graph.nodes[i].outputs;
      if (outputs.size() == 1 && dropped.contains(outputs[0])) gone[i] = true;
    }
    const auto forget = [&](ValueId value) {  // nothing of it is to be written
      if (value != kNoValue) graph.values[value] = {graph.values[value].name, {}, {}, {}, {}, {}};
    };
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      if (gone[i]) std::ranges::for_each(graph.nodes[i].outputs, forget);
    }
    for (const ValueId value : dropped) {
      graph.weights.erase(value);
      forget(value);
    }
    size_t index = 0;
    std::erase_if(graph.nodes, [&](const Node&) { return gone[index++]; });
  }

  static void store(Graph& graph, const Uncovered& one) {
    const ValueId value = value_called(graph, one.name);
    graph.values[value] = {one.name, one.made.value.dtype(), one.made.value.shape(), {}, {}, {}};
    // A Constant node would hold its old value.
    std::erase_if(graph.nodes, [&](const Node& node) {
      return node.outputs.size() == 1 && node.outputs[0] == value;
    });
    if (one.made.packed) {
      graph.weights[value] = {*one.made.packed, {}};
    } else {
      graph.weights[value] = {one.made.value.aligned(), {}};
    }
  }

  Integers integers_;
  std::unique_ptr<KnownGraph> root_;
  std::vector<Uncovered> uncovered_;
  std::vector<Consumer> consumers_;
  std::map<const Weight*, std::pair<const KnownGraph*, ValueId>> owners_;
  std::unordered_set<std::string> names_;  // of all values of the model
  std::unordered_map<std::string, size_t> owners_of_name_;
  std::unordered_set<std::string> freed_;  // constants that removed nodes read
  std::set<std::pair<const KnownGraph*, ValueId>> still_there_;
};

}  // namespace

Model with_uncovered_weights(Model model, ThreadPool& pool, Integers integers) {
  std::optional<Graph> graph = Uncovering(model, integers, pool).graph();
  if (graph) model.graph = std::move(*graph);
  return model;
}

std::optional<UncoveredModel> uncover_weights(const Model& model, ThreadPool& pool,
                                              Integers integers) {
  Uncovering uncovering(model, integers, pool);
  std::optional<Graph> graph = uncovering.graph();
  if (!graph) return std::nullopt;
  UncoveredModel result{model, uncovering.names(), uncovering.parts()};
  result.model.graph = std::move(*graph);
  return result;
}

}  // namespace espalier
