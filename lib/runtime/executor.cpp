#include "lib/runtime/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "lib/ops/op_util.h"
#include "lib/ops/run_once.h"
#include "lib/runtime/activations.h"
#include "lib/runtime/program.h"

namespace espalier {
namespace {

constexpr size_t kOutside = SIZE_MAX;  // memory that is no piece of the run: inputs and constants

/// Where a value lies during a run.
struct Slot {
  TensorView view;
  size_t piece = kOutside;
  bool aliased = false;  // as it was when the memory was planned
};

class StepContext final : public RunContext {
 public:
  StepContext(const std::vector<Step>& steps, std::vector<Slot>& slots, Activations& activations,
              ThreadPool& pool)
      : steps_(steps), slots_(slots), activations_(activations), pool_(pool) {}

  void enter(size_t step) {
    index_ = step;
    step_ = &steps_[step];
  }

  size_t inputs() const override { return step_->node.inputs.size(); }
  bool has_input(size_t index) const override {
    return index < inputs() && step_->node.inputs[index] != kNoValue;
  }
  const TensorView& input(size_t index) const override {
    if (!has_input(index)) fail("input {} is missing", index);
    return slots_[step_->node.inputs[index]].view;
  }
  bool wants_output(size_t index) const override {
    return index < step_->wanted.size() && step_->wanted[index];
  }

  TensorView output(size_t index, DType dtype, const Dims& dims) override {
    const size_t count = checked_count(dims);
    const auto bytes = checked_mul(count, bytes_of(dtype));
    if (!bytes) fail("output {} is too large", index);
    size_t piece = 0;
    std::byte* memory = activations_.take(index_, index + 1, *bytes, piece);
    const TensorView view{dtype, dims, memory};
    if (!wants_output(index)) return view;
    activations_.extend(piece, step_->last[index]);
    Slot& slot = slot_of(index);
    slot.view = view;
    slot.piece = piece;
    if (activations_.recording()) slot.aliased = false;
    return view;
  }

  void alias(size_t index, size_t from, const Dims& dims) override {
    ESPALIER_CHECK(checked_count(dims) == input(from).count());
    if (!wants_output(index)) return;
    const Slot source = slots_[step_->node.inputs[from]];
    Slot& slot = slot_of(index);
    // The plan gave the source the longer life that an alias needs only where it was one then.
    if (source.piece != kOutside && !activations_.recording() && !slot.aliased) {
      const TensorView copy = output(index, source.view.dtype, dims);
      std::memcpy(copy.bytes, source.view.bytes, copy.count() * bytes_of(copy.dtype));
      return;
    }
    if (source.piece != kOutside) activations_.extend(source.piece, step_->last[index]);
    slot = {{source.view.dtype, dims, source.view.bytes}, source.piece, true};
  }

  std::byte* scratch(size_t bytes) override {
    size_t piece = 0;
    return activations_.take(index_, 0, bytes, piece);
  }
  ThreadPool& pool() override { return pool_; }

 private:
  Slot& slot_of(size_t output) { return slots_[step_->node.outputs[output]]; }

  const std::vector<Step>& steps_;
  std::vector<Slot>& slots_;
  Activations& activations_;
  ThreadPool& pool_;
  size_t index_ = 0;
  const Step* step_ = nullptr;
};

bool fits(const Shape& declared, const Shape& given) {
  return std::ranges::equal(declared, given, [](int64_t d, int64_t g) { return d < 0 || d == g; });
}

void check_input(const Value& value, const Tensor& tensor) {
  const std::string name = printable(value.name);
  if (value.dtype != DType::kUnknown && value.dtype != tensor.dtype()) {
    throw Error(Fault::kUsage, fmt::format("input {} is {}: {} was wanted", name,
                                           name_of(tensor.dtype()), name_of(value.dtype)));
  }
  if (value.shape && !fits(*value.shape, tensor.shape())) {
    throw Error(Fault::kUsage, fmt::format("input {} has shape {}: {} was wanted", name,
                                           to_string(tensor.shape()), to_string(*value.shape)));
  }
}

Tensor copy_of(const TensorView& view) {
  Tensor tensor = Tensor::zeros(view.dtype, view.dims.shape());
  if (tensor.count() != 0)
    std::memcpy(tensor.mutable_bytes().data(), view.bytes, tensor.bytes().size());
  return tensor;
}

}  // namespace

struct Executor::State {
  State(const Model& model, const ExecutorOptions& wanted)
      : options(wanted),
        pool(wanted.threads),
        program(make_program(model, wanted, pool)),
        slots(program.values.size()),
        context(program.steps, slots, activations, pool) {
    for (const auto& [value, view] : program.hollow) slots[value].view = view;
    for (const auto& [value, tensor] : program.constants) slots[value].view = view_of(tensor);
  }

  // Puts the inputs into their slots; whether they have the extents of the run before.
  bool bind(const Feed& inputs) {
    bool same = true;
    held.clear();
    for (const ValueId id : program.inputs) {
      const Value& value = program.values[id];
      const auto found = inputs.find(value.name);
      if (found == inputs.end()) {
        throw Error(Fault::kUsage, fmt::format("input {} is missing", printable(value.name)));
      }
      check_input(value, found->second);
      held.push_back(found->second.aligned());
      const TensorView view = view_of(held.back());
      same = same && slots[id].view.dtype == view.dtype && slots[id].view.dims == view.dims;
      slots[id].view = view;
    }
    if (inputs.size() != program.inputs.size()) refuse_unknown(inputs);
    return same;
  }

  void refuse_unknown(const Feed& inputs) const {
    for (const auto& [name, tensor] : inputs) {
      const bool known = std::ranges::any_of(
          program.inputs, [&](ValueId id) { return program.values[id].name == name; });
      if (!known)
        throw Error(Fault::kUsage, fmt::format("the model has no input {}", printable(name)));
    }
  }

  void run_steps() {
    for (size_t i = 0; i < program.steps.size(); ++i) {
      Step& step = program.steps[i];
      context.enter(i);
      const auto began = options.profile ? std::chrono::steady_clock::now()
                                         : std::chrono::steady_clock::time_point{};
      try {
        step.run(context);
      } catch (Error& error) {
        error.add_context(node_label(step.node));
        throw;
      }
      if (options.profile) {
        step.seconds +=
            std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
      }
    }
  }

  ExecutorOptions options;
  ThreadPool pool;
  Program program;
  std::vector<Slot> slots;
  Activations activations;
  StepContext context;
  std::vector<Tensor> held;  // the inputs of this run
  bool complete = false;     // the run before reached its end: its plan counts
};

Executor::Executor(const Model& model, const ExecutorOptions& options)
    : state_(std::make_unique<State>(model, options)) {}
Executor::~Executor() = default;
Executor::Executor(Executor&&) noexcept = default;

Feed Executor::run(const Feed& inputs) {
  State& s = *state_;
  const bool was_complete = std::exchange(s.complete, false);
  const bool same = s.bind(inputs);
  s.activations.begin(same && was_complete);
  s.run_steps();
  Feed outputs;
  for (const ValueId id : s.program.outputs) {
    outputs.emplace(s.program.values[id].name, copy_of(s.slots[id].view));
  }
  s.activations.end();
  s.complete = true;
  return outputs;
}

std::vector<NodeTime> Executor::times() const {
  std::vector<NodeTime> result;
  for (const Step& step : state_->program.steps) {
    result.push_back({full_op_name(step.node), step.node.name, step.seconds});
  }
  return result;
}

size_t Executor::weight_bytes() const { return state_->program.weight_bytes; }
size_t Executor::activation_bytes() const { return state_->activations.bytes(); }

}  // namespace espalier
