#pragma once

#include <functional>
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
#include "lib/tensor/view.h"

namespace espalier {

/// What an operator sees while it runs: made by the runtime, once per node.
class RunContext {
 public:
  virtual ~RunContext() = default;

  /// Inputs that the node names; an input that it leaves out has no view.
  virtual size_t inputs() const = 0;
  virtual bool has_input(size_t index) const = 0;
  virtual const TensorView& input(size_t index) const = 0;

  /// Whether anyone reads output `index`; others need not be made.
  virtual bool wants_output(size_t index) const = 0;
  /// Memory for output `index`, not initialised. Each wanted output is asked for exactly once per
  /// run, by this or by alias().
  virtual TensorView output(size_t index, DType dtype, const Dims& dims) = 0;
  /// Output `index` is input `from` under other extents (same count), without a copy.
  virtual void alias(size_t index, size_t from, const Dims& dims) = 0;

  /// Memory until the end of this run, aligned to 64 bytes, not initialised; a second call is
  /// independent of the first.
  virtual std::byte* scratch(size_t bytes) = 0;
  float* scratch_f32(size_t count) {
    return reinterpret_cast<float*>(scratch(count * sizeof(float)));
  }

  virtual ThreadPool& pool() = 0;
};

/// What a prepared node holds of its own: for the sum of bytes, and so that the runtime need not
/// keep what nobody reads.
struct Holdings {
  size_t bytes = 0;
  uint64_t replaced = 0;  ///< bit i: the elements of constant input i are not read at run time
  /// Packed inputs that may run dense, and where it is said that they did.
  std::vector<std::pair<size_t, std::shared_ptr<const bool>>> ran_dense = {};
};

/// What an operator may look at before it runs for the first time.
struct PrepareContext {
  const Node& node;
  int64_t opset;  ///< of the node's domain
  std::vector<const Weight*>
      constants;  ///< per input: its value where that is known now (dense or packed), else null

  const Weight* constant(size_t input) const {
    return input < constants.size() ? constants[input] : nullptr;
  }
  bool names_input(size_t input) const {
    return input < node.inputs.size() && node.inputs[input] != kNoValue;
  }

  Holdings* holdings = nullptr;  ///< where prepare() says what it keeps; may be null
  /// prepare() made its own copy of constant `input`, `bytes` long: run() will see its type and
  /// extents, but no elements.
  void replaces(size_t input, size_t bytes) const {
    if (holdings == nullptr) return;
    holdings->bytes += bytes;
    holdings->replaced |= uint64_t{1} << input;
  }

  bool always_packed = false;    ///< packed weights run packed, also where dense ones are quicker
  MeasuredChoice measured = {};  ///< which are quicker, as far as a measurement knows
  bool exact_values = false;     ///< i8 values times inputs of f32, not rounded to 8 bits
  /// Number of the stream that runs are pieces of (ExecutorOptions::stream); null: of none.
  std::shared_ptr<const uint64_t> stream = nullptr;
  /// A flag for prepare() to share: it is set once packed input `input` runs dense after all.
  std::shared_ptr<bool> may_run_dense(size_t input) const {
    auto flag = std::make_shared<bool>(false);
    if (holdings != nullptr) holdings->ran_dense.emplace_back(input, flag);
    return flag;
  }

  ProductObserver* observer = nullptr;  ///< of the run; null where nobody looks on
  /// The number of constant `input` where the observer wants to see what it is multiplied with.
  std::optional<size_t> watched(size_t input) const {
    const Weight* weight = observer == nullptr ? nullptr : constant(input);
    return weight == nullptr ? std::nullopt : observer->watch(*weight);
  }
};

/// Runs the node; holds what prepare() made once (repacked weights, parsed attributes). Not called
/// by two threads at a time.
using Run = std::function<void(RunContext&)>;

/// Operators that stand for several of ONNX's; only passes make nodes of this domain.
inline constexpr std::string_view kFusedDomain = "espalier.fused";

/// One operator of ONNX's default domain, for all opsets from 7 on, or of kFusedDomain. A packed
/// weight reaches prepare() as a SparseMatrix in `constants`; an operator without use for it reads
/// the decoded view like any other input (the runtime decodes it once).
struct Operator {
  std::string_view name;
  /// How input `input` of `node`, of shape `shape`, folds to matrices; nothing where that input is
  /// no prunable weight. Null: never.
  std::optional<Fold> (*fold)(const Node& node, size_t input, const Shape& shape) = nullptr;
  /// Whether input `input` is taken packed; all others are decoded. Null: never.
  bool (*takes_packed)(const Node& node, size_t input) = nullptr;
  /// Errors  Fault::kUnsupported naming the attribute or type that is not supported.
  Run (*prepare)(const PrepareContext& context) = nullptr;
  /// Takes f16 and bf16 inputs as f32, and its f32 outputs are rounded to that type: the runtime
  /// converts around run().
  bool half_as_f32 = false;
  std::string_view domain = {};
};

#define ESPALIER_OPERATOR(name) extern const Operator name##_operator;
#include "lib/ops/operators.def"

/// All operators, in the order of operators.def.
std::span<const Operator* const> operators();
/// Null where espalier does not know the operator.
const Operator* find_operator(std::string_view op, std::string_view domain);

}  // namespace espalier
