#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "formats/nnef/read/constant.h"
#include "lib/ir/model.h"

namespace espalier::nnef {

/// A tensor while a document is read: a value of the graph, or a constant that may become one.
struct TensorRef {
  ValueId id = kNoValue;
  ConstantPtr constant;  ///< null for a value of the graph
};

/// What is known of an output.
struct OutputInfo {
  DType dtype = DType::kUnknown;
  std::optional<Shape> shape;
};

/// Makes the graph of a model, node by node. Names are wishes until finish() makes them unique:
/// inputs and outputs get theirs first, then weights by label, then the rest.
class GraphBuilder {
 public:
  ValueId input(std::string name, DType dtype, Shape shape, std::vector<std::string> dimensions);

  /// The value of a constant; made at the first call.
  ValueId place(const ConstantPtr& constant);
  ValueId place(const TensorRef& tensor);
  /// Integers that an ONNX operator takes as an input (axes, a shape).
  TensorRef integers(std::string_view what, const std::vector<int64_t>& values);

  /// Errors  Fault::kUnsupported past kMaxNodes nodes.
  std::vector<TensorRef> node(Node node, const std::vector<TensorRef>& inputs,
                              const std::vector<OutputInfo>& outputs);
  TensorRef node(std::string op, const std::vector<TensorRef>& inputs, OutputInfo output,
                 std::vector<Attribute> attributes = {});

  std::optional<Shape> shape(const TensorRef& tensor) const;
  std::optional<size_t> rank(const TensorRef& tensor) const;
  DType dtype(const TensorRef& tensor) const;
  /// The node that makes a value, or null. Not valid after the next node().
  const Node* producer(const TensorRef& tensor) const;
  /// A node's input as a tensor: what place() was given where it is a constant.
  TensorRef tensor(ValueId id) const;
  const std::vector<ValueId>& inputs() const { return graph_.inputs; }
  const Value& value(ValueId id) const { return graph_.values[id]; }
  /// As it is now: constants that nodes read are values without a maker, which tensor() tells.
  const Graph& graph() const { return graph_; }
  /// Lets finish() drop the node that makes `tensor`, and those that only it reads, where nothing
  /// else reads them: a translation has taken them in.
  void allow_drop(const TensorRef& tensor);

  /// Puts the inputs into the order of the graph's list and gives them its names. What is wrong
  /// where the list is not that of the inputs.
  std::optional<std::string> order_inputs(const std::vector<TensorRef>& inputs,
                                          const std::vector<std::string>& names);

  /// Gives a value its name where it has none yet.
  void wish_name(const TensorRef& tensor, const std::string& name);

  /// Names the outputs, in front of everything but inputs; drops transposes and squeezes that
  /// nothing reads, which translation leaves behind, and what allow_drop() names.
  Graph finish(std::string name, const std::vector<TensorRef>& outputs,
               const std::vector<std::string>& output_names);

  static constexpr size_t kMaxNodes = 200'000;

 private:
  void name_outputs(const std::vector<TensorRef>& outputs, const std::vector<std::string>& names);
  void drop_unread();
  void drop_unused_values();
  void make_names_unique();

  Graph graph_;
  std::map<ValueId, ConstantPtr> constants_;
  std::set<ValueId> droppable_;
  std::vector<size_t> producers_;  ///< per value: the node that makes it, or SIZE_MAX
};

Attribute attribute(std::string name, Attribute::Value value);

}  // namespace espalier::nnef
