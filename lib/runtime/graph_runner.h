#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/ops/operator.h"
#include "lib/runtime/executor.h"
#include "lib/runtime/run_memory.h"

namespace espalier {

/// Constants that a subgraph reads from the graphs around it, by name.
using OuterConstants = std::map<std::string, std::shared_ptr<const Weight>, std::less<>>;

/// Runs one graph, or a subgraph of a control flow operator; nodes that nobody needs are left out.
class GraphRunner {
 public:
  /// Nothing of `graph` is referred to afterwards, but tensors share its bytes.
  /// Errors  Fault::kUnsupported naming operator and node that cannot be run; Fault::kFormat for a
  /// value that nobody makes.
  GraphRunner(const Graph& graph, int64_t opset, const ExecutorOptions& options, ThreadPool& pool,
              const OuterConstants& outer = {});

  /// Values to bind before run(): the graph's inputs that are no weights, and captured values that
  /// are no outer constants.
  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<ValueId>& outputs() const { return outputs_; }
  const std::vector<std::pair<std::string, ValueId>>& captures() const { return captures_; }

  /// `view` must stay valid until run() has returned, and as long as outputs that share its memory
  /// are read.
  void bind(ValueId value, const TensorView& view) { views_[value] = view; }
  void run();
  /// Of an output: valid until the next run().
  const TensorView& view(ValueId value) const { return views_[value]; }

  std::vector<NodeTime> times() const;
  size_t weight_bytes() const;
  std::vector<std::string> ran_dense() const;
  size_t activation_bytes() const;

 private:
  struct Step;
  class Context;
  class Builder;

  ThreadPool& pool_;
  bool profile_;
  RunMemory memory_;
  std::vector<ValueId> inputs_, outputs_;
  std::vector<std::pair<std::string, ValueId>> captures_;
  std::vector<TensorView> views_;
  std::vector<size_t> pieces_;  // per value: the memory it lies in, or kNoPiece
  std::vector<Tensor> constants_;
  std::vector<std::shared_ptr<Step>> steps_;
  std::vector<double> seconds_;
  std::vector<std::pair<DType, Dims>> bound_;  // of the last run
  std::vector<std::shared_ptr<GraphRunner>> branches_;
  size_t weight_bytes_ = 0;
  std::vector<std::pair<std::string, std::shared_ptr<const bool>>> may_run_dense_;
};

}  // namespace espalier
