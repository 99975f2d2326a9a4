#include "lib/prune/pack/near_zeros.h"

#include <doctest/doctest.h>

#include <limits>

#include "tests/lib/prune/prune_models.h"

using namespace espalier;
using namespace espalier::test;

namespace {

// 100 elements: `large` ones of 1 in front, then `zeros` zeros, the rest 5e-7.
Tensor shrunk(size_t large, size_t zeros) {
  std::vector<float> values(100, 5e-7F);
  std::fill_n(values.begin(), large, 1.0F);
  std::fill_n(values.begin() + static_cast<ptrdiff_t>(large), zeros, 0.0F);
  return from_f32(values, DType::kF32, {10, 10});
}

Model one_layer(Tensor weight) {
  ModelBuilder b;
  b.model.graph.outputs = {b.matmul("fc", b.input("x"), std::move(weight))};
  return b.model;
}

}  // namespace

TEST_CASE("a weight looks pruned where nine of ten elements are a millionth of the largest") {
  CHECK(looks_pruned({shrunk(10, 0), {}}));
  CHECK(looks_pruned({shrunk(10, 80), {}}));
  CHECK(!looks_pruned({shrunk(11, 0), {}}));
  CHECK(!looks_pruned({shrunk(10, 90), {}}));  // zeros already
  CHECK(!looks_pruned({shrunk(0, 100), {}}));
  CHECK(!looks_pruned({Tensor::zeros(DType::kI64, {10, 10}), {}}));
}

TEST_CASE("elements near zero become zeros, the others keep every bit") {
  Tensor weight = shrunk(10, 0);
  weight.mutable_data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  weight.mutable_data<float>()[1] = std::numeric_limits<float>::infinity();
  weight.mutable_data<float>()[99] = -2e-6F;
  const Model model = one_layer(weight);
  const std::vector<Layer> layers = select_layers(model, {.min_weights = 1});
  REQUIRE(layers.size() == 1);
  const Model zeroed = with_zeros_below(model, layers, 1e-6);
  const Tensor& found = weight_of(zeroed, layers[0]).dense();
  for (size_t i = 0; i < 100; ++i) {
    CAPTURE(i);
    CHECK(bits_at(found, i) == (i < 10 || i == 99 ? bits_at(weight, i) : 0));
  }
  CHECK(same_bits(weight_of(with_zeros_below(model, layers, 1e-9), layers[0]).dense(), weight));
}

TEST_CASE("the note names the weights and the way out") {
  const Model model = one_layer(shrunk(10, 0));
  const std::string note = near_zero_note(model, select_layers(model, {.min_weights = 1}));
  CHECK(note.find("fc.w") != std::string::npos);
  CHECK(note.find("--zero-below 1e-6") != std::string::npos);
  CHECK(note.find("--sparsity 0.9") != std::string::npos);
  const Model plain = one_layer(shrunk(50, 50));
  CHECK(near_zero_note(plain, select_layers(plain, {.min_weights = 1})).empty());
}
