#include "lib/runtime/graph_runner.h"

#include <fmt/format.h>
#include <set>

#include <algorithm>
#include <chrono>

#include "lib/base/checked_math.h"
#include "lib/ops/op_util.h"
#include "lib/runtime/graph_step.h"

namespace espalier {
namespace {

constexpr size_t kNoPiece = SIZE_MAX;

}  // namespace

std::string label_of(const Node& node, size_t place) {
  const std::string name = node.name.empty() ? fmt::format("#{}", place) : printable(node.name);
  return fmt::format("node {} ({})", name, printable(full_op_name(node)));
}

// What an operator sees while it runs as a step.
class GraphRunner::Context final : public RunContext {
 public:
  explicit Context(GraphRunner& runner) : runner_(runner) {}

  void begin(const Step& step, size_t number) {
    step_ = &step;
    number_ = number;
  }

  size_t inputs() const override { return step_->inputs.size(); }
  bool has_input(size_t index) const override {
    return index < step_->inputs.size() && step_->inputs[index] != kNoValue;
  }
  const TensorView& input(size_t index) const override {
    if (!has_input(index)) fail("input {} is missing", index);
    return runner_.views_[step_->inputs[index]];
  }
  bool wants_output(size_t index) const override {
    return index < step_->outputs.size() && step_->outputs[index] != kNoValue;
  }

  TensorView output(size_t index, DType dtype, const Dims& dims) override {
    const auto bytes = checked_mul(checked_count(dims), bytes_in_view(dtype));
    if (!bytes) fail("shape {} is too large", to_string(dims));
    const size_t last = wants_output(index) ? step_->last_use[index] : number_;
    const size_t piece = runner_.memory_.allocate(*bytes, number_, last);
    const TensorView view{dtype, dims, runner_.memory_.data(piece)};
    if (wants_output(index)) {
      runner_.views_[step_->outputs[index]] = view;
      runner_.pieces_[step_->outputs[index]] = piece;
    }
    return view;
  }

  void alias(size_t index, size_t from, const Dims& dims) override {
    if (!wants_output(index)) return;
    TensorView view = input(from);
    ESPALIER_CHECK(checked_count(dims) == view.count());
    view.dims = dims;
    const size_t piece = runner_.pieces_[step_->inputs[from]];
    const ValueId value = step_->outputs[index];
    runner_.views_[value] = view;
    runner_.pieces_[value] = piece;
    if (piece != kNoPiece) runner_.memory_.extend(piece, step_->last_use[index]);
  }

  std::byte* scratch(size_t bytes) override {
    return runner_.memory_.data(runner_.memory_.allocate(bytes, number_, number_));
  }
  ThreadPool& pool() override { return runner_.pool_; }

 private:
  GraphRunner& runner_;
  const Step* step_ = nullptr;
  size_t number_ = 0;
};

void GraphRunner::run() {
  bool same = bound_.size() == inputs_.size() + captures_.size();
  size_t next = 0;
  const auto compare = [&](ValueId value) {
    const TensorView& view = views_[value];
    if (next == bound_.size()) bound_.emplace_back();
    auto& [dtype, dims] = bound_[next++];
    same = same && dtype == view.dtype && dims == view.dims;
    dtype = view.dtype;
    dims = view.dims;
  };
  for (const ValueId input : inputs_) compare(input);
  for (const auto& capture : captures_) compare(capture.second);

  memory_.start(same);
  Context context(*this);
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = *steps_[i];
    context.begin(step, i);
    try {
      if (profile_) {
        const auto start = std::chrono::steady_clock::now();
        step.run(context);
        seconds_[i] +=
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      } else {
        step.run(context);
      }
    } catch (Error& error) {
      bound_.clear();  // what is recorded so far is no plan
      error.add_context(step.label);
      throw;
    } catch (...) {
      bound_.clear();
      throw;
    }
    memory_.end_step(i);
  }
  memory_.finish();
}

std::vector<NodeTime> GraphRunner::times() const {
  std::vector<NodeTime> result;
  for (size_t i = 0; profile_ && i < steps_.size(); ++i) {
    result.push_back({steps_[i]->op, steps_[i]->name, steps_[i]->node, seconds_[i]});
  }
  return result;
}

std::vector<std::string> GraphRunner::ran_dense() const {
  std::set<std::string> names;  // several readers or pieces of one weight
  for (const auto& [name, flag] : may_run_dense_) {
    if (*flag) names.insert(name);
  }
  for (const auto& branch : branches_) {
    for (std::string& name : branch->ran_dense()) names.insert(std::move(name));
  }
  return {names.begin(), names.end()};
}

size_t GraphRunner::weight_bytes() const {
  size_t sum = weight_bytes_;
  for (const auto& branch : branches_) sum += branch->weight_bytes();
  return sum;
}

size_t GraphRunner::activation_bytes() const {
  size_t sum = memory_.bytes();
  for (const auto& branch : branches_) sum += branch->activation_bytes();
  return sum;
}

}  // namespace espalier
