#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/ir/model.h"
#include "lib/kernels/sparse/measured_choice.h"
#include "lib/ops/product_observer.h"
#include "lib/passes/pass.h"
#include "lib/tensor/view.h"

namespace espalier {

/// Name of a graph input or output -> value.
using Feed = std::map<std::string, Tensor>;

struct ExecutorOptions {
  size_t threads = 1;           ///< 0: all processors
  ThreadPool* pool = nullptr;   ///< used instead of threads of its own; outlives the executor
  bool decode_weights = false;  ///< run packed weights as the dense tensors they decode to
  bool always_packed = false;   ///< run packed weights packed, also where dense is quicker
  /// Which of the two is quicker, where a measurement of this machine knows; else a built-in table
  /// says.
  MeasuredChoice measured = {};
  bool exact_values = false;  ///< i8 values times inputs of f32, not rounded to 8 bits
  bool profile = false;       ///< keep the time of each node
  /// Runs are pieces of a stream: GRU, LSTM and RNN whose initial state the model leaves out, or sets
  /// to zeros, go on from where the run before ended, until the number changes. Null: they do not.
  std::shared_ptr<const uint64_t> stream = nullptr;
  PassOptions passes = {};  ///< what the graph goes through before it runs
  /// Sees what constant weights are multiplied with. It knows them by their addresses in the model:
  /// no pass runs.
  ProductObserver* observer = nullptr;
};

struct NodeTime {
  std::string op, name;
  size_t node = 0;  ///< its index in the model's graph; of a fused node, that which it stands for
  double seconds = 0;  ///< sum over the runs since the executor was made
};

/// Runs a model. Weights are prepared once; memory for the values in between is planned for the
/// shapes of the last call and kept.
class Executor {
 public:
  /// Errors  Fault::kUnsupported naming operator and node that cannot be run.
  Executor(const Model& model, const ExecutorOptions& options);
  ~Executor();
  Executor(Executor&&) noexcept;

  /// All outputs by name.
  /// Errors  Fault::kUsage: an input is missing, unknown, or of another type or shape than the
  /// model declares; the text names it.
  ///         Fault::kFormat: shapes inside the model do not fit each other; the text names the
  ///         node.
  Feed run(const Feed& inputs);

  /// The same in steps, without maps and copies per run: for streams and benchmarks. bind() checks
  /// all inputs as run() does and reads their elements where they lie at every run_bound() after
  /// it.
  void bind(const Feed& inputs);
  /// Memory of the executor for one input, not initialised: written by the caller before every
  /// run_bound().
  /// Errors  as run().
  TensorView input_view(std::string_view name, const Dims& dims);
  /// The elements of one input stay where they are, and are read there at every run_bound() after
  /// it: as many bytes as its type and `dims` need, aligned for the type. Errors  as run().
  void bind_view(std::string_view name, const Dims& dims, std::span<const std::byte> bytes);
  /// Errors  Fault::kUsage naming an input that is not bound.
  void run_bound();
  /// An output of the last run, until the next one.
  /// Errors  Fault::kUsage for an unknown name.
  TensorView output_view(std::string_view name) const;

  std::vector<NodeTime> times() const;
  /// Packed weights that ran dense so far because that is quicker, by name.
  std::vector<std::string> ran_dense() const;
  /// Bytes held for weights, and for values and scratch since the last change of shapes.
  size_t weight_bytes() const;
  size_t activation_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Operators of the model that the runtime cannot run: "Op (node name)", in graph order; empty
/// where it can.
std::vector<std::string> unsupported_operators(const Model& model);

}  // namespace espalier
