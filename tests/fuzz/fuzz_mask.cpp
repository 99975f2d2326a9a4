#include "formats/npy/npy.h"
#include "lib/base/check.h"
#include "lib/base/error.h"
#include "lib/prune/choose/masks.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/refit/apply_plan.h"
#include "tests/fuzz/fuzz_file.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace espalier;

// x -> MatMul w [8, 6] -> Gemm v [4, 6] transposed -> y.
Model small_model() {
  Model model;
  Graph& graph = model.graph;
  const auto value = [&](const char* name, Shape shape) {
    return add_value(graph, name, DType::kF32, std::move(shape));
  };
  const ValueId x = value("x", {1, 8}), w = value("w", {8, 6}), h = value("h", {1, 6}),
                v = value("v", {4, 6}), y = value("y", {1, 4});
  graph.inputs = {x};
  graph.outputs = {y};
  std::vector<float> ascending(48);
  for (size_t i = 0; i < ascending.size(); ++i) ascending[i] = static_cast<float>(i) - 20;
  graph.weights[w] = {Tensor::of<float>({8, 6}, ascending), {}};
  ascending.resize(24);
  graph.weights[v] = {Tensor::of<float>({4, 6}, ascending), {}};
  graph.nodes.push_back({"MatMul", "", "first", {x, w}, {h}, {}, {}});
  graph.nodes.push_back({"Gemm", "", "second", {h, v}, {y}, {}, {}});
  set_attribute(graph.nodes.back(), "transB", int64_t{1});
  model.origin.opset = 17;
  return model;
}

// Half of the inputs are files, the others are masks made of choices.
Masks masks_from(const uint8_t* data, size_t size) {
  FuzzInput input(data, size);
  if (input.coin()) {
    const FuzzFile file(input.rest().data(), input.rest().size());
    return masks_of_arrays(read_npz_file(file.path()));
  }
  Masks masks;
  constexpr const char* kNames[] = {"w", "v", "x", "", "none"};
  while (!input.empty() && masks.size() < 4) {
    const Shape shape = input.coin()   ? Shape{8, 6}
                        : input.coin() ? Shape{4, 6}
                                       : Shape{input.byte() % 9, input.byte() % 9};
    Tensor mask = Tensor::zeros(input.byte() % 8 == 0 ? DType::kU8 : DType::kBool, shape);
    for (std::byte& byte : mask.mutable_bytes()) byte = std::byte{input.byte()};
    masks[input.one_of(kNames)] = std::move(mask);
  }
  return masks;
}

}  // namespace

// What masks leave of a model is what the plan says: dropped elements are zeros, the others keep
// their bits, and packing loses nothing.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Model model = small_model();
  ThreadPool pool(1);
  try {
    const auto masks = masks_from(data, size);
    const PrunePlan plan = plan_from_masks(model, {}, masks);
    const Model masked = apply_plan(model, plan, pool), packed = pack_weights(model, plan, pool);
    const Model decoded = decode_weights(packed);
    for (const auto& [id, weight] : masked.graph.weights) {
      const Tensor dense = weight.dense();
      const Tensor before = model.graph.weights.at(id).dense();
      const auto mask = masks.find(model.graph.values[id].name);
      if (mask != masks.end() && mask->second.outputs_axis) continue;  // it may be laid out anew
      if (mask != masks.end() && mask->second.kept.shape() != dense.shape()) continue;
      for (size_t i = 0; i < dense.count(); ++i) {
        const bool kept = mask == masks.end() || mask->second.kept.bytes()[i] != std::byte{0};
        ESPALIER_CHECK(dense.data<float>()[i] == (kept ? before.data<float>()[i] : 0.0F));
      }
      ESPALIER_CHECK(to_f32(decoded.graph.weights.at(id).dense()) == to_f32(dense));
    }
  } catch (const Error&) {
  }
  return 0;
}
