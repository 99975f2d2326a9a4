#include "formats/onnx/lower_packed.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "formats/onnx/decode_stages.h"
#include "formats/onnx/operator_signature.h"
#include "formats/onnx/read_graph.h"
#include "formats/onnx/sparse_tensor.h"
#include "lib/base/log.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"

namespace espalier {
namespace {

enum class Spelling { kAsItIs, kDense, kFunction, kInline, kSparseValue, kSparseInitializer };

class Lowering {
 public:
  Lowering(int64_t opset, const WriteOptions& options, PackedNeeds& needs)
      : opset_(opset), options_(options), needs_(needs) {}

  Graph lower(const Graph& root) {
    for_each_graph(root, [&](const Graph& graph, const std::string&) {
      for (const Value& value : graph.values) taken_.insert(value.name);
    });
    return transformed(root, [&](Graph& graph, const std::string& prefix) {
      is_root_ = prefix.empty();
      lower_graph(graph);
    });
  }

 private:
  Spelling spelling(const Weight& weight) const {
    const char origin = origin_of(weight);
    const bool sparse_tensor = origin == kSparseInitializerOrigin || origin == kSparseValueOrigin;
    if (options_.profile == "dense") return Spelling::kDense;
    if (!weight.is_sparse() && !sparse_f64(weight)) return Spelling::kAsItIs;
    if (options_.profile == "function" || options_.profile == "operator" ||
        options_.profile == "region")
      return Spelling::kFunction;
    if (options_.profile == "inline") return Spelling::kInline;
    if (options_.profile == "sparse-value") return Spelling::kSparseValue;
    if (options_.profile == "sparse-initializer") return Spelling::kSparseInitializer;
    if (sparse_tensor) return Spelling::kAsItIs;
    return origin == kFunctionOrigin ? Spelling::kFunction : Spelling::kInline;
  }

  void lower_graph(Graph& graph) {
    std::unordered_map<ValueId, size_t> constants;  // value -> its Constant node
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      if (is_constant(graph.nodes[i])) constants.emplace(graph.nodes[i].outputs[0], i);
    }
    front_.clear();
    in_place_.clear();
    small_parts_.clear();
    if (options_.recurrent_pairs) find_recurrent(graph);
    if (options_.profile == "operator") spell_operators(graph, constants);
    if (options_.profile == "region") take_large_constants(graph, constants);
    std::vector<ValueId> ids;
    for (const auto& [id, weight] : graph.weights) {
      if (weight.is_sparse() || origin_of(weight) == kSparseInitializerOrigin ||
          origin_of(weight) == kSparseValueOrigin || sparse_f64(weight))
        ids.push_back(id);
    }
    for (const ValueId id : ids) {
      const auto constant = constants.find(id);
      lower_weight(graph, id, constant == constants.end() ? nullptr : &constant->second);
    }
    splice(graph);
  }

  void find_recurrent(const Graph& graph) {
    pairs_.clear();
    for (const Node& node : graph.nodes) {
      if (!is_op(node, "GRU") && !is_op(node, "LSTM") && !is_op(node, "RNN")) continue;
      pairs_.insert(node.inputs.begin(), node.inputs.end());
    }
  }

  // A bitmap of large blocks takes fewer nodes that are as large as the weight, where these are many.
  std::string_view index_for(ValueId id, const SparseMatrix& matrix) const {
    if (pairs_.contains(id)) return "grid";
    if (options_.stages && options_.index.empty() && matrix.block.area() >= 16 &&
        byte_count(matrix.dtype, matrix.shape) >= kLargeDecode)
      return "bitmap";
    return options_.index;
  }

  // A packed weight whose pairs take more than the dense weight.
  bool grows(const Graph& graph, ValueId id) const {
    if (!pairs_.contains(id) || !graph.weights.at(id).is_sparse()) return false;
    const SparseMatrix& matrix = graph.weights.at(id).sparse();
    if (is_smaller_with(matrix, index_bytes(matrix.fold, matrix.block))) return false;
    warn(
        fmt::format("{}: pairs of 1x1 take more bytes than the dense weight, and OpenVINO takes no "
                    "bitmap in recurrent layers: stored dense",
                    graph.values[id].name));
    return true;
  }

  // A region holds its Constant nodes twice; large ones become initializers.
  void take_large_constants(Graph& graph, const std::unordered_map<ValueId, size_t>& constants) {
    constexpr size_t kSmall = 1024;
    for (auto& [id, weight] : graph.weights) {
      const auto constant = constants.find(id);
      if (constant == constants.end() || weight.is_sparse() ||
          origin_of(weight) == kSparseValueOrigin || weight.dense().byte_size() < kSmall)
        continue;
      weight.extra.clear();
      in_place_[constant->second] = {};
    }
  }

  // Nodes whose packed weights nobody else reads become calls that hold decode and operator.
  void spell_operators(Graph& graph, const std::unordered_map<ValueId, size_t>& constants) {
    const std::unordered_set<ValueId> own = only_operators_read(graph);
    std::unordered_map<ValueId, OperatorParts> made;
    for (Node& node : graph.nodes) {
      const std::vector<size_t> packed = packed_inputs(node, own);
      const OperatorForm* form = operator_form(node, packed);
      if (form == nullptr) continue;
      write_out_defaults(node, graph.weights.at(node.inputs[packed[0]]).shape(), opset_);
      call_operator(graph, node, *form, made);
    }
    for (const auto& [id, parts] : made) {
      need(operator_opset(graph.weights.at(id).sparse()), 8);
      graph.weights.erase(id);
      drop_input(graph, id);
      const auto constant = constants.find(id);
      if (constant != constants.end()) in_place_[constant->second] = {};
    }
  }

  using OperatorParts = std::vector<ValueId>;

  static std::vector<size_t> packed_inputs(const Node& node,
                                           const std::unordered_set<ValueId>& packed) {
    std::vector<size_t> result;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (packed.contains(node.inputs[i])) result.push_back(i);
    }
    return result;
  }

  // Packed weights that only nodes read which have such a call, and that are smaller with its index
  // of pairs than dense. One that another node reads besides
  // is decoded for all of them, so that nodes which had a call with it may do without.
  static std::unordered_set<ValueId> only_operators_read(const Graph& graph) {
    std::unordered_set<std::string> inside;  // subgraphs
    for (const Node& node : graph.nodes) {
      for_each_subgraph(node, [&](const Graph& sub) {
        for_each_graph(sub, [&](const Graph& part, const std::string&) {
          for (const Value& value : part.values) inside.insert(value.name);
        });
      });
    }
    std::unordered_set<ValueId> result;
    for (const auto& [id, weight] : graph.weights) {
      if (!weight.is_sparse() || inside.contains(graph.values[id].name)) continue;
      const SparseMatrix& matrix = weight.sparse();
      if (!takes_bitmap(matrix) || is_smaller_with(matrix, index_bytes(matrix.fold, matrix.block)))
        result.insert(id);
    }
    for (const ValueId output : graph.outputs) result.erase(output);
    for (size_t before = result.size() + 1; before != result.size();) {
      before = result.size();
      for (const Node& node : graph.nodes) {
        const std::vector<size_t> packed = packed_inputs(node, result);
        if (packed.empty() || operator_form(node, packed) != nullptr) continue;
        for (const size_t input : packed) result.erase(node.inputs[input]);
      }
    }
    return result;
  }

  // Small parts that are equal are stored once: onnxruntime's cost of a run grows with their number,
  // and the bytes of a file with many weights. A region takes its small parts inside, each its own.
  ValueId part_value(Graph& graph, Tensor& part, const std::string& weight, std::string_view name) {
    constexpr size_t kSmall = 64;
    const bool small = options_.profile != "region" && part.byte_size() <= kSmall;
    for (const ValueId id : small_parts_) {
      if (small && same_bits(graph.weights.at(id).dense(), part)) return id;
    }
    const ValueId id =
        add_value(graph, unique(fmt::format("{}/{}", weight, name)), part.dtype(), part.shape());
    graph.weights.emplace(id, Weight{std::move(part), {}});
    if (small) small_parts_.push_back(id);
    return id;
  }

  // Parts take the place of each packed input; those that an earlier call made are shared.
  void call_operator(Graph& graph, Node& node, const OperatorForm& form,
                     std::unordered_map<ValueId, OperatorParts>& made) {
    const auto names = operator_inputs(form);
    std::vector<ValueId> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId id = node.inputs[i];
      if (!form.is_packed(i)) {
        inputs.push_back(id);
        continue;
      }
      const std::string name = graph.values[id].name;
      OperatorWeight weight = operator_weight(graph.weights.at(id).sparse(), names[i], name);
      OperatorParts& parts = made[id];
      for (size_t p = parts.size(); p < weight.parts.size(); ++p) {
        parts.push_back(part_value(graph, weight.parts[p], name, kOperatorParts[p]));
      }
      inputs.insert(inputs.end(), parts.begin(), parts.end());
      std::ranges::move(weight.attributes, std::back_inserter(node.attributes));
    }
    node.inputs = std::move(inputs);
    node.outputs.resize(operator_signature(form.op).outputs.size(), kNoValue);
    node.op = form.name;
    node.domain = kDecodeDomain;
    needs_.operators.emplace(form.name, &form);
  }

  // Writes one weight in the spelling that the profile gives it: as it is, dense, by a decode, or
  // sparse.
  void lower_weight(Graph& graph, ValueId id, const size_t* constant) {
    Weight& weight = graph.weights.at(id);
    Spelling how = spelling(weight);
    if ((how == Spelling::kSparseValue || how == Spelling::kSparseInitializer) &&
        !shrinks(weight, graph.values[id].name))
      how = Spelling::kDense;
    if ((how == Spelling::kFunction || how == Spelling::kInline) && grows(graph, id))
      how = Spelling::kDense;
    switch (how) {
      case Spelling::kAsItIs:
        if (origin_of(weight) == kSparseInitializerOrigin) need(0, 5);
        if (origin_of(weight) == kSparseValueOrigin) need(11, 5);
        return;
      case Spelling::kDense:
        weight.extra.clear();
        if (constant != nullptr) in_place_[*constant] = {constant_node(graph, *constant, "value")};
        return;
      case Spelling::kFunction:
      case Spelling::kInline:
        return decode(graph, id, constant, how);
      case Spelling::kSparseValue:
        need(11, 5);
        if (origin_of(weight) != kSparseValueOrigin) weight.extra = kSparseValueOrigin;
        if (constant != nullptr) {
          in_place_[*constant] = {constant_node(graph, *constant, "sparse_value")};
        } else {
          drop_input(graph, id);
          Node node{"Constant", "", graph.values[id].name + "/sparse", {}, {id}, {}, {}};
          node.attributes.push_back({"sparse_value", std::monostate{}, {}});
          front_.push_back(std::move(node));
        }
        return;
      case Spelling::kSparseInitializer:
        need(0, 5);
        drop_input(graph, id);
        if (origin_of(weight) != kSparseInitializerOrigin) weight.extra = kSparseInitializerOrigin;
        if (constant != nullptr) in_place_[*constant] = {};
        return;
    }
  }

  void need(int64_t opset, int64_t ir_version) {
    needs_.opset = std::max(needs_.opset, opset);
    needs_.ir_version = std::max(needs_.ir_version, ir_version);
  }

  // An int64 index for each value.
  static size_t sparse_bytes(const Weight& weight, size_t values) {
    return values * (bytes_of(weight.dtype()) + sizeof(int64_t));
  }

  // Never packed in blocks, but sparse tensors hold any type: where asked for and smaller.
  bool sparse_f64(const Weight& weight) const {
    if (!options_.profile.starts_with("sparse-") || weight.dtype() != DType::kF64) return false;
    if (weight.shape().size() < 2) return false;
    return sparse_bytes(weight, count_nonzero(dense_of(weight))) < weight.dense().bytes().size();
  }

  // From about two thirds of zeros on, for f32.
  static bool shrinks(const Weight& weight, const std::string& name) {
    const size_t kept = count_nonzero(dense_of(weight));
    const size_t sparse = sparse_bytes(weight, kept);
    const size_t dense = byte_count(weight.dtype(), weight.shape());
    if (sparse < dense) return true;
    warn(
        fmt::format("{}: {} values with their indices take {} bytes, the dense weight {}: stored "
                    "dense",
                    name, kept, sparse, dense));
    return false;
  }

  static Node constant_node(const Graph& graph, size_t index, std::string attribute) {
    Node node = graph.nodes[index];
    const auto old = std::ranges::find_if(
        node.attributes, [](const Attribute& a) { return is_constant_attribute(a.name); });
    if (old != node.attributes.end() && old->name == attribute) return node;
    std::erase_if(node.attributes,
                  [](const Attribute& a) { return is_constant_attribute(a.name); });
    node.attributes.push_back({std::move(attribute), std::monostate{}, {}});
    return node;
  }

  // What a node makes cannot be an input as well; before IR 4 every initializer was one.
  static void drop_input(Graph& graph, ValueId id) { std::erase(graph.inputs, id); }

  std::string unique(std::string name) {
    for (int i = 1; taken_.contains(name); ++i) name = fmt::format("{}_{}", name, i);
    taken_.insert(name);
    return name;
  }

  // The parts of a packed weight as initializers, and the nodes that compute the dense weight from
  // them.
  void decode(Graph& graph, ValueId id, const size_t* constant, Spelling how) {
    const SparseMatrix matrix = graph.weights.at(id).sparse();
    graph.weights.erase(id);
    drop_input(graph, id);
    const DecodeForm form = decode_form(matrix, index_for(id, matrix));
    const std::string name = graph.values[id].name;
    std::unordered_map<std::string, ValueId> ids{{"weight", id}};
    DecodeParts parts = decode_parts(matrix, form);
    for (const std::string& input : decode_inputs(form)) {
      ids[input] = part_value(graph, parts.at(input), name, input);
    }
    std::vector<Node> nodes;
    if (how == Spelling::kFunction) {
      needs_.functions.emplace(decode_name(form), form);
      need(decode_opset(form), 8);
      Node call{decode_name(form), std::string(kDecodeDomain), name + "/decode", {}, {id}, {}, {}};
      for (const std::string& input : decode_inputs(form)) call.inputs.push_back(ids.at(input));
      nodes.push_back(std::move(call));
    } else {
      need(decode_opset(form), 4);
      spell_out(graph, decode_steps(form), ids, nodes);
      if (options_.stages && is_root_ && takes_stages(form, byte_count(matrix.dtype, matrix.shape)))
        nodes = stages_of(graph, std::move(nodes), form, std::move(ids));
      nodes.back().name = name + "/decode";
    }
    if (constant != nullptr) {
      in_place_[*constant] = std::move(nodes);
    } else {
      std::ranges::move(nodes, std::back_inserter(front_));
    }
  }

  std::vector<Node> stages_of(Graph& graph, std::vector<Node> nodes, const DecodeForm& form,
                              std::unordered_map<std::string, ValueId> ids) {
    const StageNames names{
        std::move(ids),
        [&](Tensor value, const char* what) { return part_value(graph, value, "decode", what); },
        [&](std::string name) { return unique(std::move(name)); }};
    return in_stages(graph, std::move(nodes), form, names);
  }

  // The steps as nodes. Their constants are initializers, which decodes share; short names keep
  // files small.
  void spell_out(Graph& graph, std::vector<DecodeStep> steps,
                 std::unordered_map<std::string, ValueId>& ids, std::vector<Node>& nodes) {
    const std::string prefix = fmt::format("d{}/", decodes_++);
    for (DecodeStep& step : steps) {
      if (step.op == "Constant") {
        auto& value = std::get<Tensor>(step.attributes[0].value);
        ids[step.output] = part_value(graph, value, "decode", step.output);
        continue;
      }
      if (!ids.contains(step.output))
        ids[step.output] = add_value(graph, unique(prefix + step.output));
      const ValueId output = ids.at(step.output);
      Node node{step.op, "", graph.values[output].name, {}, {output}, {}, {}};
      for (const std::string& input : step.inputs) node.inputs.push_back(ids.at(input));
      node.attributes = std::move(step.attributes);
      nodes.push_back(std::move(node));
    }
  }

  void splice(Graph& graph) {
    if (front_.empty() && in_place_.empty()) return;
    std::vector<Node> nodes = std::move(front_);
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      const auto replaced = in_place_.find(i);
      if (replaced == in_place_.end()) {
        nodes.push_back(std::move(graph.nodes[i]));
      } else {
        std::ranges::move(replaced->second, std::back_inserter(nodes));
      }
    }
    graph.nodes = std::move(nodes);
  }

  int64_t opset_;
  const WriteOptions& options_;
  PackedNeeds& needs_;
  std::unordered_set<std::string> taken_;
  bool is_root_ = true;                // the graph at hand
  std::unordered_set<ValueId> pairs_;  // of recurrent layers, in the graph at hand
  size_t decodes_ = 0;                 // spelled out so far
  std::vector<ValueId> small_parts_;   // in the graph at hand
  std::vector<Node> front_;            // of the graph at hand
  std::unordered_map<size_t, std::vector<Node>> in_place_;  // of Constant nodes
};

}  // namespace

Graph lowered(const Graph& graph, int64_t opset, const WriteOptions& options, PackedNeeds& needs) {
  return Lowering(opset, options, needs).lower(graph);
}

}  // namespace espalier
