#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "lib/prune/choose/plan.h"
#include "lib/sparse/pack.h"

namespace espalier::test {

inline Tensor random_tensor(Shape shape, uint32_t seed, DType dtype = DType::kF32) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(element_count(shape));
  for (float& value : values) value = normal(engine);
  return from_f32(values, dtype, std::move(shape));
}

/// A model made node by node; values are named as they are added.
struct ModelBuilder {
  Model model;

  ValueId value(const std::string& name) { return add_value(model.graph, name); }
  ValueId input(const std::string& name) {
    model.graph.inputs.push_back(value(name));
    return model.graph.inputs.back();
  }
  ValueId weight(const std::string& name, Tensor tensor) {
    const ValueId id = add_value(model.graph, name, tensor.dtype(), tensor.shape());
    model.graph.weights[id] = {std::move(tensor), {}};
    return id;
  }
  ValueId node(const std::string& op, const std::string& name, std::vector<ValueId> inputs,
               std::vector<Attribute> attributes = {}) {
    const ValueId out = value(name + "_out");
    model.graph.nodes.push_back(
        {op, "", name, std::move(inputs), {out}, std::move(attributes), {}});
    return out;
  }
  ValueId matmul(const std::string& name, ValueId x, Tensor tensor) {
    return node("MatMul", name, {x, weight(name + ".w", std::move(tensor))});
  }
};

/// x -> MatMul [40, 70] (transposed fold) -> Gemm transB [33, 70] -> GRU R [1, 3 * 24, 24].
inline Model mixed_model(uint32_t seed = 1, DType dtype = DType::kF32) {
  ModelBuilder b;
  ValueId x = b.input("x");
  x = b.matmul("mm", x, random_tensor({40, 70}, seed, dtype));
  const ValueId gemm = b.weight("gemm.w", random_tensor({33, 70}, seed + 1, dtype));
  x = b.node("Gemm", "gemm", {x, gemm}, {{"transB", int64_t{1}, {}}});
  const ValueId w = b.weight("gru.W", random_tensor({1, 72, 33}, seed + 2, dtype));
  const ValueId r = b.weight("gru.R", random_tensor({1, 72, 24}, seed + 3, dtype));
  b.model.graph.outputs = {b.node("GRU", "gru", {x, w, r}, {{"hidden_size", int64_t{24}, {}}})};
  return b.model;
}

inline const Layer& find_layer(const std::vector<Layer>& layers, const std::string& weight) {
  const auto found = std::ranges::find(layers, weight, &Layer::weight);
  ESPALIER_CHECK(found != layers.end());
  return *found;
}

inline const LayerPlan& find_layer(const PrunePlan& plan, const std::string& weight) {
  for (const LayerPlan& layer : plan.layers) {
    if (layer.layer.weight == weight) return layer;
  }
  ESPALIER_CHECK(false);
}

inline Tensor dense_weight(const Model& model, const Layer& layer) {
  const Weight& weight = weight_of(model, layer);
  return weight.is_sparse() ? decode(weight.sparse()) : weight.dense();
}

/// Bits of element `index`.
inline uint32_t bits_at(const Tensor& tensor, size_t index) {
  uint32_t bits = 0;
  const size_t bytes = bytes_of(tensor.dtype());
  std::memcpy(&bits, tensor.bytes().data() + index * bytes, bytes);
  return bits;
}

inline std::string fault_text(Fault fault, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.fault() == fault ? error.what() : "another fault: " + std::string(error.what());
  }
  return "no error";
}

}  // namespace espalier::test
