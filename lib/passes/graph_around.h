#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/ir/model.h"
#include "lib/ir/scope.h"

namespace espalier {

/// The values of a graph as a rewriting of its loops sees them: which are constants, what they are
/// made of, what is known of the others. Refers to the graph; reset() after its nodes have changed.
class GraphAround {
 public:
  GraphAround(Graph& graph, Scope* around, int64_t opset, ThreadPool& pool);
  void reset();

  Graph& graph() { return graph_; }
  int64_t opset() const { return opset_; }
  ThreadPool& pool() { return pool_; }

  /// The value that a name in a subgraph means, which may be that of a graph further out: then a
  /// value of that name is added.
  std::optional<ValueId> called(const std::string& name);

  struct Constant {
    Weight weight;
    /// The stored float constants that it was made of: names and bytes.
    std::vector<std::pair<std::string, size_t>> sources;
  };
  /// A stored constant that is not an input, or what nodes make of such; null for all others.
  const Constant* constant(ValueId value);
  /// A constant of one element.
  std::optional<double> number(ValueId value);

  /// Null for inputs, constants and values of other graphs.
  const Node* maker(ValueId value) const;
  /// What the value was before casts and changes of rank.
  ValueId root(ValueId value) const;
  std::optional<Shape> shape(ValueId value);
  DType dtype(ValueId value);
  /// Certainly nothing but zeros.
  bool is_zero(ValueId value);
  /// Whether `count`, one number, is the extent of that axis of `data`.
  bool is_extent(ValueId count, ValueId data, size_t axis);

 private:
  void find_makers();
  std::optional<Shape> loop_shape(const Node& node, ValueId value) const;
  std::optional<Constant> make(ValueId value, size_t depth);

  Graph& graph_;
  Scope* around_;
  int64_t opset_;
  ThreadPool& pool_;
  std::optional<Scope> scope_;
  std::vector<size_t> makers_;
  std::map<ValueId, std::optional<Constant>> constants_;
  size_t bytes_left_;
};

}  // namespace espalier
