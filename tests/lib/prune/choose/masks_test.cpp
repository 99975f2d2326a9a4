#include <doctest/doctest.h>

#include "lib/prune/choose/make_plan.h"
#include "lib/prune/choose/masks.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/refit/apply_plan.h"
#include "lib/tensor/layout.h"
#include "tests/lib/prune/prune_models.h"

using namespace espalier;
using namespace espalier::test;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Tensor mask_of(Shape shape, bool value) {
  Tensor mask = Tensor::zeros(DType::kBool, std::move(shape));
  std::ranges::fill(mask.mutable_bytes(), std::byte{value ? uint8_t{1} : uint8_t{0}});
  return mask;
}

}  // namespace

TEST_CASE("masks out and in again give the same plan, blocks found by themselves") {
  const Model model = mixed_model();
  ThreadPool pool(2);
  for (const BlockShape block : {BlockShape{16, 1}, {8, 4}, {1, 1}, {5, 3}}) {
    for (const bool keep_diagonal : {true, false}) {
      PruneOptions options;
      options.block = block;
      options.keep_diagonal = keep_diagonal;
      options.sparsity = 0.7;
      const PrunePlan plan = make_plan(model, options, pool);
      const Masks masks = masks_of(plan);
      CHECK(masks.size() == 4);
      const PrunePlan again = plan_from_masks(model, options, masks);
      options.block = block == BlockShape{5, 3} ? block : BlockShape{23, 19};
      const PrunePlan found = plan_from_masks(model, options, masks);
      for (size_t i = 0; i < 4; ++i) {
        CHECK(again.layers[i].mask == plan.layers[i].mask);
        CHECK(again.layers[i].diagonal == plan.layers[i].diagonal);
        CHECK(found.layers[i].mask.block.area() >= block.area());
        CHECK(again.layers[i].sparsity == doctest::Approx(0.7).epsilon(0.05));
      }
      const Model a = apply_plan(model, plan, pool);
      for (const PrunePlan& other : {again, found}) {
        const Model b = apply_plan(model, other, pool);
        for (const LayerPlan& layer : plan.layers)
          CHECK(same_bits(dense_weight(a, layer.layer), dense_weight(b, layer.layer)));
      }
    }
  }
}

TEST_CASE("a mask has its weight's shape, folded or not, and true where weights stay") {
  const Model model = mixed_model();
  ThreadPool pool(1);
  const PrunePlan plan = make_plan(model, PruneOptions{}, pool);
  const Model masked = apply_plan(model, plan, pool);
  for (const auto& [name, mask] : masks_of(plan)) {
    const LayerPlan& layer = find_layer(plan, name);
    CHECK(mask.kept.dtype() == DType::kBool);
    CHECK(mask.kept.shape() == layer.layer.shape);
    const Tensor after = dense_weight(masked, layer.layer);
    for (size_t i = 0; i < mask.kept.count(); ++i)
      REQUIRE((bits_at(after, i) != 0) == (mask.kept.data<uint8_t>()[i] == 1));
  }
  const auto zeros = masks_of_zeros(masked, {}),
             packed = masks_of_zeros(pack_weights(model, plan, pool), {});
  for (const auto& [name, mask] : masks_of(plan)) {
    CHECK(same_bits(zeros.at(name).kept, mask.kept));
    CHECK(same_bits(packed.at(name).kept, mask.kept));
    CHECK(zeros.at(name).outputs_axis == mask.outputs_axis);
  }
}

TEST_CASE("masks select by themselves, but neither what is excluded nor what cannot be pruned") {
  ModelBuilder b;
  const ValueId x = b.input("x");
  const ValueId small = b.matmul("small", x, random_tensor({8, 8}, 1));
  const ValueId f64 = b.matmul("f64", small, random_tensor({64, 64}, 2, DType::kF64));
  const ValueId bias = b.weight("bias", random_tensor({64}, 3));
  b.model.graph.outputs = {
      b.node("Add", "add", {b.matmul("big", f64, random_tensor({64, 64}, 2)), bias})};
  PruneOptions options;
  const PrunePlan plan = plan_from_masks(b.model, options, {{"small.w", mask_of({8, 8}, false)}});
  CHECK(find_layer(plan, "small.w").layer.left_out == "");
  CHECK(find_layer(plan, "small.w").mask.kept_blocks() == 0);
  CHECK(find_layer(plan, "big.w").layer.left_out == "has no mask");
  options.select.exclude = {"small"};
  CHECK(has(find_layer(plan_from_masks(b.model, options, {{"small.w", mask_of({8, 8}, false)}}),
                       "small.w")
                .layer.left_out,
            "excluded"));

  const auto error = [&](Fault fault, const std::string& name, Tensor mask) {
    return fault_text(fault, [&] { plan_from_masks(b.model, PruneOptions{}, {{name, mask}}); });
  };
  CHECK(has(error(Fault::kFormat, "nobody", mask_of({8, 8}, true)),
            "mask nobody: the model has no such weight; it has: small.w, f64.w, big.w"));
  CHECK(has(error(Fault::kFormat, "smal.w", mask_of({8, 8}, true)),
            "the model has no such weight; did you mean small.w?"));
  CHECK(has(error(Fault::kFormat, "small.w", mask_of({64}, true)),
            "mask small.w has shape [64], its weight has [8, 8]"));
  CHECK(has(error(Fault::kFormat, "small.w", Tensor::zeros(DType::kU8, {8, 8})), "is of type u8"));
  CHECK(has(error(Fault::kUnsupported, "f64.w", mask_of({64, 64}, false)), "type f64"));
  CHECK(has(error(Fault::kUnsupported, "bias", mask_of({64}, false)), "no operator multiplies"));
  CHECK(error(Fault::kFormat, "bias", mask_of({64}, true)) == "no error");
  CHECK(error(Fault::kFormat, "f64.w", mask_of({64, 64}, true)) == "no error");
}

TEST_CASE("a mask with outputs along another axis than its weight's is laid out as the weight is") {
  const Model model = mixed_model();
  ThreadPool pool(1);
  PruneOptions options;
  options.sparsity = 0.7;
  const PrunePlan plan = make_plan(model, options, pool);
  Masks masks = masks_of(plan);
  for (auto& [name, mask] : masks) {
    const size_t axis = *mask.outputs_axis, rank = mask.kept.shape().size(),
                 other = axis + 1 == rank ? axis - 1 : axis + 1;
    CAPTURE(name);
    REQUIRE(other < rank);
    mask = {with_axes_exchanged(mask.kept, axis, other), other};
  }
  const PrunePlan again = plan_from_masks(model, options, masks);
  for (size_t i = 0; i < plan.layers.size(); ++i)
    CHECK(again.layers[i].mask == plan.layers[i].mask);
  Masks wrong{{"mm.w", {mask_of({70, 40}, true), 0}}};
  CHECK(plan_from_masks(model, options, wrong).layers.size() == 4);
  wrong["mm.w"].outputs_axis = 1;
  CHECK(has(fault_text(Fault::kFormat, [&] { plan_from_masks(model, options, wrong); }),
            "has shape [70, 40] with outputs along axis 1, its weight has [40, 70] with outputs "
            "along axis 1"));
}

TEST_CASE("arrays of zeros and ones are masks, and say which axis counts outputs") {
  const std::vector<float> values{0, 1, 1, -0.0F};
  const int64_t axis = 1;
  const Tensor scalar = Tensor::of<int64_t>({}, std::span(&axis, 1));
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kF64}) {
    const Masks masks =
        masks_of_arrays({{"w", from_f32(values, dtype, {2, 2})}, {"outputs_axis/w", scalar}});
    REQUIRE(masks.size() == 1);
    CHECK(masks.at("w").outputs_axis == 1);
    const Tensor kept = masks.at("w").kept;
    CHECK(std::vector<uint8_t>(kept.data<uint8_t>().begin(), kept.data<uint8_t>().end()) ==
          std::vector<uint8_t>{0, 1, 1, 0});
    CHECK(arrays_of(masks).size() == 2);
  }
  const std::vector<uint8_t> bytes{1, 0, 2};
  const auto error = [](const std::map<std::string, Tensor>& arrays) {
    return fault_text(Fault::kFormat, [&] { masks_of_arrays(arrays); });
  };
  CHECK(has(error({{"w", Tensor::of<uint8_t>({3}, bytes)}}),
            "mask w: value 2 at index 2, expected 0 (dropped) or 1 (kept)"));
  CHECK(has(error({{"w", mask_of({3}, true)}, {"outputs_axis/w", scalar}}),
            "expected an integer from 0 to 0, the axis of mask w that counts outputs"));
  // Without a mask of that name it is a mask by that name.
  CHECK(masks_of_arrays({{"outputs_axis/v", mask_of({3}, true)}}).contains("outputs_axis/v"));
}
