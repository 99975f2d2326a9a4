#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/ir/node_kinds.h"
#include "lib/ops/operator.h"
#include "lib/passes/pass.h"

namespace espalier {

/// A graph seen by values, for passes that put one node in the place of several. What was fused
/// away is removed by finish(); values and weights that nobody reads any more stay for the pass
/// dead_nodes. The node that stands for several takes the place of the last of them, so that nodes
/// stay in topological order.
class GraphEditor {
 public:
  GraphEditor(Graph& graph, PassContext& context);

  size_t size() const { return graph_.nodes.size(); }
  Node& node(size_t index) { return graph_.nodes[index]; }
  const Node& node(size_t index) const { return graph_.nodes[index]; }
  bool is_removed(size_t index) const { return removed_[index]; }

  /// The node that makes a value, and that node where its operator is `op` of ONNX's own domain.
  std::optional<size_t> maker(ValueId value) const;
  std::optional<size_t> maker(ValueId value, std::string_view op) const;
  /// The same where nobody else reads the value, so that the node may be fused away.
  std::optional<size_t> own_maker(ValueId value, std::string_view op) const;
  /// How often nodes (subgraphs too) and the graph's outputs read a value.
  size_t reads(ValueId value) const { return reads_[value]; }

  /// The constant behind a value, the outer graphs' included.
  const Weight* constant(ValueId value) const;
  /// A dense f32 constant.
  const Tensor* f32_constant(ValueId value) const;
  /// A single f32 number that, combined with `other`, leaves other's shape: its rank is none
  /// higher.
  std::optional<float> scalar_beside(ValueId value, ValueId other) const;
  /// Of a node's two inputs, the number as above and which input is the other.
  struct WithScalar {
    float scalar;
    ValueId other;
    size_t scalar_input;
  };
  std::optional<WithScalar> with_scalar(const Node& node) const;

  /// Whether a value is f32 for certain, by declarations, constants and operators that keep types.
  bool is_f32(ValueId value) const { return f32_of(value, 0); }
  /// A lower bound of the value's rank, and that rank where it is certain.
  size_t least_rank(ValueId value) const { return rank_of(value, 0).least; }
  std::optional<size_t> rank(ValueId value) const {
    const Rank found = rank_of(value, 0);
    return found.exact ? std::optional(found.least) : std::nullopt;
  }

  /// A new constant, called after `name`.
  ValueId add_weight(const std::string& name, Weight weight);
  /// `made` stands for node `last`, whose outputs it takes, and for those in `others`, which go.
  void replace(size_t last, Node made, const std::vector<size_t>& others);
  void finish();

 private:
  bool f32_of(ValueId value, size_t depth) const;
  bool finds_f32(ValueId value, size_t depth) const;
  struct Rank {
    size_t least = 0;
    bool exact = false;
  };
  Rank rank_of(ValueId value, size_t depth) const;
  Rank find_rank(ValueId value, size_t depth) const;

  std::vector<ValueId> inputs_of(size_t last, const std::vector<size_t>& others) const;

  Graph& graph_;
  PassContext& context_;
  std::vector<size_t> makers_, reads_;
  std::vector<bool> is_input_;
  std::vector<bool> removed_;
  size_t given_values_;  // those from here on are new
  // What is known of values; fusing changes nothing of it.
  mutable std::map<ValueId, bool> f32_;
  mutable std::map<ValueId, Rank> ranks_;
};

/// A node in the place of another, whose name and number it takes.
Node make_node(std::string op, std::string domain, std::vector<ValueId> inputs,
               const Node& stands_for);

/// Equal but for the rounding of the digits that exporters write.
bool near(double found, double wanted);

/// A product of factors, taken apart through Mul and through Div by constants, as deep as patterns
/// go.
struct Factors {
  double scale = 1;              ///< of all constant factors
  std::vector<ValueId> values;   ///< the others
  std::vector<size_t> interior;  ///< nodes in between, which nobody else reads
};
Factors factors_of(const GraphEditor& editor, size_t root);

}  // namespace espalier
