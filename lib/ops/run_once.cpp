#include "lib/ops/run_once.h"

#include <cstring>
#include <deque>
#include <optional>
#include <utility>

#include "lib/base/checked_math.h"
#include "lib/ops/op_util.h"
#include "lib/sparse/pack.h"
#include "lib/tensor/half.h"
#include "lib/tensor/small_types.h"

namespace espalier {
namespace {

struct OverLimit {};

class OnceContext final : public RunContext {
 public:
  OnceContext(const Node& node, const std::vector<const Tensor*>& inputs, ThreadPool& pool,
              size_t byte_limit)
      : node_(node),
        inputs_(inputs),
        pool_(pool),
        left_(byte_limit),
        outputs_(node.outputs.size()),
        made_(node.outputs.size()) {
    for (const Tensor* tensor : inputs_) {
      views_.push_back(tensor == nullptr ? Viewed{} : viewed(*tensor));
    }
  }

  size_t inputs() const override { return inputs_.size(); }
  bool has_input(size_t index) const override {
    return index < inputs_.size() && inputs_[index] != nullptr;
  }
  const TensorView& input(size_t index) const override {
    if (!has_input(index)) fail("input {} is missing", index);
    return views_[index].view;
  }
  bool wants_output(size_t index) const override {
    return index < node_.outputs.size() && node_.outputs[index] != kNoValue;
  }
  TensorView output(size_t index, DType dtype, const Dims& dims) override {
    const auto bytes = checked_mul(checked_count(dims), bytes_in_view(dtype));
    if (!bytes) throw OverLimit();
    if (is_sub_byte(dtype)) {
      made_.at(index) = {dtype, dims, scratch(*bytes)};
      return made_[index];
    }
    take(*bytes);
    outputs_.at(index) = Tensor::zeros(dtype, dims.shape());
    return viewed(outputs_[index]).view;
  }
  void alias(size_t index, size_t from, const Dims& dims) override {
    ESPALIER_CHECK(checked_count(dims) == input(from).count());
    outputs_.at(index) = inputs_[from]->reshaped(dims.shape());
  }
  std::byte* scratch(size_t bytes) override {
    take(bytes);
    scratch_.push_back(Tensor::zeros(DType::kU8, {static_cast<int64_t>(bytes)}));
    return scratch_.back().mutable_bytes().data();
  }
  ThreadPool& pool() override { return pool_; }

  std::vector<Tensor> outputs() && {
    for (size_t i = 0; i < made_.size(); ++i) {
      if (made_[i].bytes != nullptr) outputs_[i] = tensor_of(made_[i]);
    }
    return std::move(outputs_);
  }

 private:
  void take(std::optional<size_t> bytes) {
    if (!bytes || *bytes > left_) throw OverLimit();
    left_ -= *bytes;
  }

  const Node& node_;
  const std::vector<const Tensor*>& inputs_;
  ThreadPool& pool_;
  size_t left_;
  std::vector<Viewed> views_;
  std::vector<Tensor> outputs_;
  std::vector<TensorView> made_;  // outputs of sub-byte types
  std::deque<Tensor> scratch_;
};

bool is_half(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

void widen(const TensorView& from, float* to) {
  const auto* bits = from.data<const uint16_t>();
  const size_t count = from.count();
  for (size_t i = 0; i < count; ++i) {
    to[i] = from.dtype == DType::kF16 ? f32_from_f16(bits[i]) : f32_from_bf16(bits[i]);
  }
}

void narrow(const float* from, const TensorView& to) {
  auto* bits = to.data<uint16_t>();
  const size_t count = to.count();
  for (size_t i = 0; i < count; ++i) {
    bits[i] = to.dtype == DType::kF16 ? f16_from_f32(from[i]) : bf16_from_f32(from[i]);
  }
}

class HalfContext final : public RunContext {
 public:
  HalfContext(RunContext& inner, DType half) : inner_(inner), half_(half) {
    for (size_t i = 0; i < inner.inputs(); ++i) {
      TensorView view = inner.has_input(i) ? inner.input(i) : TensorView{};
      if (is_half(view.dtype)) {
        if (view.bytes != nullptr) {
          float* wide = inner.scratch_f32(view.count());
          widen(view, wide);
          view.bytes = reinterpret_cast<std::byte*>(wide);
        }
        view.dtype = DType::kF32;
      }
      views_.push_back(view);
    }
  }

  size_t inputs() const override { return inner_.inputs(); }
  bool has_input(size_t index) const override { return inner_.has_input(index); }
  const TensorView& input(size_t index) const override {
    return inner_.has_input(index) ? views_[index] : inner_.input(index);
  }
  bool wants_output(size_t index) const override { return inner_.wants_output(index); }
  TensorView output(size_t index, DType dtype, const Dims& dims) override {
    if (dtype != DType::kF32) return inner_.output(index, dtype, dims);
    const TensorView narrow_view = inner_.output(index, half_, dims);
    float* wide = inner_.scratch_f32(narrow_view.count());
    made_.push_back({wide, narrow_view});
    return {DType::kF32, dims, reinterpret_cast<std::byte*>(wide)};
  }
  void alias(size_t index, size_t from, const Dims& dims) override {
    inner_.alias(index, from, dims);
  }
  std::byte* scratch(size_t bytes) override { return inner_.scratch(bytes); }
  ThreadPool& pool() override { return inner_.pool(); }

  void finish() const {
    for (const auto& [wide, view] : made_) narrow(wide, view);
  }

 private:
  RunContext& inner_;
  DType half_;
  std::vector<TensorView> views_;
  std::vector<std::pair<const float*, TensorView>> made_;
};

// Dense inputs as they are, aligned; packed ones decoded unless the operator takes them.
struct Prepared {
  std::deque<Weight> weights;
  std::vector<const Weight*> constants;
  std::deque<Tensor> tensors;
  std::vector<const Tensor*> inputs;
};

Prepared prepare_inputs(const Operator& entry, const Node& node,
                        const std::vector<const Weight*>& inputs) {
  Prepared result;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) {
      result.constants.push_back(nullptr);
      result.inputs.push_back(nullptr);
      continue;
    }
    result.tensors.push_back(inputs[i]->is_sparse() ? decode(inputs[i]->sparse())
                                                    : inputs[i]->dense().aligned());
    result.inputs.push_back(&result.tensors.back());
    if (reaches_packed(entry, node, i, *inputs[i])) {
      result.constants.push_back(inputs[i]);
    } else {
      result.weights.push_back({result.tensors.back(), {}});
      result.constants.push_back(&result.weights.back());
    }
  }
  return result;
}

}  // namespace

bool has_view(DType dtype) {
  return is_sub_byte(dtype) || (bits_of(dtype) != 0 && bits_of(dtype) % 8 == 0);
}

Viewed viewed(const Tensor& tensor, size_t alignment) {
  if (!has_view(tensor.dtype())) unsupported_type(tensor.dtype());
  Viewed result{tensor, {tensor.dtype(), Dims(tensor.shape())}};
  if (is_sub_byte(tensor.dtype())) {
    result.tensor = Tensor::zeros(DType::kU8, tensor.shape());
    spread_sub_bytes(tensor.dtype(), tensor.bytes(), result.tensor.mutable_data<uint8_t>());
  } else if (reinterpret_cast<uintptr_t>(tensor.bytes().data()) % alignment != 0) {
    result.tensor = tensor.copy();
  }
  result.view.bytes = const_cast<std::byte*>(result.tensor.bytes().data());
  return result;
}

Tensor tensor_of(const TensorView& view) {
  Tensor tensor = Tensor::zeros(view.dtype, view.dims.shape());
  const std::span<std::byte> bytes = tensor.mutable_bytes();
  if (is_sub_byte(view.dtype)) {
    join_sub_bytes(view.dtype, {view.data<uint8_t>(), view.count()}, bytes);
  } else if (!bytes.empty()) {
    std::memcpy(bytes.data(), view.bytes, bytes.size());
  }
  return tensor;
}

bool reaches_packed(const Operator& entry, const Node& node, size_t input, const Weight& weight) {
  return weight.is_sparse() && entry.takes_packed != nullptr && entry.fold != nullptr &&
         entry.takes_packed(node, input) &&
         entry.fold(node, input, weight.shape()) == weight.sparse().fold;
}

Run with_half_as_f32(Run run) {
  return [run = std::move(run)](RunContext& context) {
    for (size_t i = 0; i < context.inputs(); ++i) {
      if (!context.has_input(i) || !is_half(context.input(i).dtype)) continue;
      HalfContext half(context, context.input(i).dtype);
      run(half);
      return half.finish();
    }
    run(context);
  };
}

std::optional<std::vector<Tensor>> run_once(const Operator& entry, const Node& node, int64_t opset,
                                            const std::vector<const Weight*>& inputs,
                                            ThreadPool& pool, size_t byte_limit) {
  const Prepared prepared = prepare_inputs(entry, node, inputs);
  PrepareContext prepare{node, opset, prepared.constants};
  prepare.always_packed = true;  // a dense weight that is made for one run saves nothing
  Run run = entry.prepare(prepare);
  if (entry.half_as_f32) run = with_half_as_f32(std::move(run));
  OnceContext context(node, prepared.inputs, pool, byte_limit);
  try {
    run(context);
  } catch (const OverLimit&) {
    return std::nullopt;
  }
  return std::move(context).outputs();
}

}  // namespace espalier
