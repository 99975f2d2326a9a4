#pragma once

#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// y [N, 2] = x [N, 3] * w [3, 2].
inline Model matmul_model(std::vector<float> weight = {1, 2, 3, 4, 5, 6}) {
  Model model;
  Graph& graph = model.graph;
  const ValueId x = add_value(graph, "x", DType::kF32, Shape{-1, 3});
  const ValueId w = add_value(graph, "w", DType::kF32, Shape{3, 2});
  const ValueId y = add_value(graph, "y", DType::kF32, Shape{-1, 2});
  graph.values[x].dimension_names = {"N", ""};
  graph.weights.emplace(w, Weight{Tensor::of<float>({3, 2}, weight), {}});
  graph.nodes.push_back({"MatMul", "", "mm", {x, w}, {y}, {}, {}});
  graph.inputs = {x};
  graph.outputs = {y};
  model.origin.opset = 17;
  return model;
}

/// out [1, 2] = in [1, 2] + state [1, 2]; next [1, 2] = out.
inline Model running_sum_model() {
  Model model;
  Graph& graph = model.graph;
  const ValueId in = add_value(graph, "in", DType::kF32, Shape{1, 2});
  const ValueId state = add_value(graph, "state", DType::kF32, Shape{1, 2});
  const ValueId out = add_value(graph, "out", DType::kF32, Shape{1, 2});
  const ValueId next = add_value(graph, "next", DType::kF32, Shape{1, 2});
  graph.nodes.push_back({"Add", "", "add", {in, state}, {out}, {}, {}});
  graph.nodes.push_back({"Identity", "", "copy", {out}, {next}, {}, {}});
  graph.inputs = {in, state};
  graph.outputs = {out, next};
  model.origin.opset = 17;
  return model;
}

inline Tensor counted(Shape shape, float first = 0) {
  std::vector<float> values(element_count(shape));
  for (float& value : values) value = first++;
  return Tensor::of<float>(shape, values);
}

inline std::vector<float> values_of(const Tensor& tensor) { return to_f32(tensor); }

}  // namespace espalier
