#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lib/sparse/sparse_matrix.h"
#include "lib/tensor/tensor.h"

namespace espalier {

/// Index into Graph::values.
using ValueId = uint32_t;
/// An optional input or output that a node leaves out.
inline constexpr ValueId kNoValue = UINT32_MAX;

struct Graph;

/// `extra` in the structs below holds what the reader of a format found and espalier does not
/// understand, word for word in that format's own bytes (Origin::format); only that format's writer
/// looks at it. Empty in a model made or translated by espalier.

/// Operators have ONNX's names and attributes (domain ""): the NNEF reader translates to them, and
/// keeps what it cannot translate in domain "nnef" with the NNEF name.
struct Attribute {
  using Value =
      std::variant<std::monostate, int64_t, float, std::string, Tensor, std::vector<int64_t>,
                   std::vector<float>, std::vector<std::string>, std::shared_ptr<const Graph>>;
  std::string name;
  Value value;  ///< monostate: a kind that only `extra` holds
  std::string extra;
};

struct Node {
  std::string op, domain, name;
  std::vector<ValueId> inputs, outputs;
  std::vector<Attribute> attributes;
  std::string extra;
  /// While a graph is rewritten: the index of the node that this one is, or stands for, in the
  /// graph as it was given (numbered()).
  size_t number = kNoNumber;
  static constexpr size_t kNoNumber = SIZE_MAX;
};

/// A named value. In a subgraph, a value that is no input, no weight and no node's output is the
/// outer graph's value of that name.
struct Value {
  std::string name;
  DType dtype = DType::kUnknown;
  std::optional<Shape> shape;  ///< -1 where free; nothing where even the rank is not known
  std::string no_tensor;       ///< what it is instead ("sequence", "map", ...); empty: a tensor
  /// As long as the shape or empty; "" where an extent has no name.
  std::vector<std::string> dimension_names;
  std::string extra;
};

/// A constant: dense or packed. Comes from an initializer or from a Constant node; in that case the
/// node stays in Graph::nodes (so that it is written back in its place) with its value moved here.
struct Weight {
  std::variant<Tensor, SparseMatrix> value;
  std::string extra;

  bool is_sparse() const { return std::holds_alternative<SparseMatrix>(value); }
  const Tensor& dense() const { return std::get<Tensor>(value); }
  const SparseMatrix& sparse() const { return std::get<SparseMatrix>(value); }
  const Shape& shape() const { return is_sparse() ? sparse().shape : dense().shape(); }
  DType dtype() const { return is_sparse() ? sparse().dtype : dense().dtype(); }
  bool is_deferred() const { return is_sparse() ? sparse().is_deferred() : dense().is_deferred(); }
  /// Lets go of what the elements take in memory (Tensor::give_back): done with it for now.
  void give_back() const { is_sparse() ? sparse().give_back() : dense().give_back(); }
};

/// Nodes are in topological order. `weights` is ordered by value; the value's name is the weight's
/// name.
struct Graph {
  std::string name;
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<ValueId> inputs, outputs;
  std::map<ValueId, Weight> weights;
  std::string extra;
};

/// Where a model came from. `opset` is that of the default ONNX domain (NNEF models are translated
/// to kNnefOpset).
struct Origin {
  std::string format;  ///< "onnx", "nnef", ...: the Format's name
  std::string file;    ///< as the user named it
  uint64_t bytes = 0;  ///< of the file, with its external data; of the folder
  int64_t opset = 0;
  /// See above: the whole model's (ONNX: ModelProto without its graph; NNEF: extensions,
  /// fragments).
  std::string extra;
};
inline constexpr int64_t kNnefOpset = 17;

struct Model {
  Graph graph;
  Origin origin;
};

/// The model with all deferred weights made (Tensor::held), for as long as the result lives; nothing
/// where it has none.
std::optional<Model> with_held_weights(const Model& model);

/// The dense tensor that a weight is or decodes to.
Tensor dense_of(const Weight& weight);

/// The attribute, or nothing / the fallback where the node has none of that name and kind.
const Attribute* find_attribute(const Node& node, std::string_view name);
int64_t int_attribute(const Node& node, std::string_view name, int64_t fallback);
float float_attribute(const Node& node, std::string_view name, float fallback);
std::string string_attribute(const Node& node, std::string_view name, std::string fallback);
std::vector<int64_t> ints_attribute(const Node& node, std::string_view name,
                                    std::vector<int64_t> fallback);
std::vector<float> floats_attribute(const Node& node, std::string_view name,
                                    std::vector<float> fallback);
std::vector<std::string> strings_attribute(const Node& node, std::string_view name,
                                           std::vector<std::string> fallback);
void set_attribute(Node& node, std::string name, Attribute::Value value);

/// The graph with each node's index as its number.
Graph numbered(Graph graph);

/// Appends a value and gives its id.
ValueId add_value(Graph& graph, std::string name, DType dtype = DType::kUnknown,
                  std::optional<Shape> shape = {});

/// "Gemm", or "domain.Op" for a domain other than ONNX's own.
std::string full_op_name(const Node& node);

/// The constant behind a value, or nothing.
const Weight* find_weight(const Graph& graph, ValueId value);

/// The graph that an attribute holds, or nullptr.
const Graph* subgraph_of(const Attribute& attribute);
/// The same for a node's attribute of that name.
const Graph* find_subgraph(const Node& node, std::string_view name);

/// Calls visit(graph) for each graph that an attribute of the node holds, in their order.
template <typename Visit>
void for_each_subgraph(const Node& node, const Visit& visit) {
  for (const Attribute& attribute : node.attributes) {
    if (const Graph* sub = subgraph_of(attribute); sub != nullptr) visit(*sub);
  }
}

/// What names a node in the prefixes of its subgraphs: its name, or operator and index.
std::string path_step(const Node& node, size_t index);

/// Calls visit(graph, prefix) for the graph and, depth first, each subgraph in its nodes'
/// attributes. `prefix` is "" for the graph itself, "node/attribute/" below (the node's name, or
/// its operator and index where it has none).
template <typename Visit>
void for_each_graph(const Graph& graph, const Visit& visit, const std::string& prefix = "") {
  visit(graph, prefix);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    for (const Attribute& attribute : node.attributes) {
      const Graph* sub = subgraph_of(attribute);
      if (sub == nullptr) continue;
      for_each_graph(*sub, visit, prefix + path_step(node, i) + "/" + attribute.name + "/");
    }
  }
}

/// A copy of `graph` in which change(graph, prefix) has been applied to it and each subgraph,
/// prefixes as above.
template <typename Change>
Graph transformed(Graph graph, const Change& change, const std::string& prefix = "") {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    Node& node = graph.nodes[i];
    for (Attribute& attribute : node.attributes) {
      const Graph* sub = subgraph_of(attribute);
      if (sub == nullptr) continue;
      attribute.value = std::make_shared<const Graph>(
          transformed(*sub, change, prefix + path_step(node, i) + "/" + attribute.name + "/"));
    }
  }
  change(graph, prefix);
  return graph;
}

/// Whether the graphs around a subgraph hold a value of that name; empty: there are none.
using OuterValues = std::function<bool(std::string_view name)>;

/// Puts the nodes into topological order: stable, without recursion, n log n. A node comes after
/// the makers of what it reads, and of the outer values that the subgraphs in its attributes read.
/// Does not go into subgraphs: each is given to this function by itself, with the names around it.
/// Errors  Fault::kFormat naming value and node: a value made twice, one that is read (or is an
///         output of the graph) and made by nobody, here or in `outer`; a cycle.
void validate_and_sort(Graph& graph, const OuterValues& outer = {});

}  // namespace espalier
