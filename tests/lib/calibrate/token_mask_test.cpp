#include "lib/calibrate/token_mask.h"

#include <doctest/doctest.h>

#include "tests/lib/prune/prune_models.h"

namespace espalier {
namespace {

using namespace espalier::test;

// Keeps the samples that it is told of, one after another whatever their layout.
class Recorder final : public ProductObserver {
 public:
  std::optional<size_t> watch(const Weight&) const override { return 0; }
  void see(size_t, size_t, size_t, const float* x, Features features, size_t k, size_t n) override {
    samples.assign(n, std::vector<float>(k));
    for (size_t s = 0; s < n; ++s) {
      for (size_t i = 0; i < k; ++i)
        samples[s][i] = features == Features::kInner ? x[s * k + i] : x[i * n + s];
    }
    ++calls;
  }

  std::vector<std::vector<float>> samples;
  size_t calls = 0;
};

Tensor mask_of(Shape shape, const std::vector<int64_t>& values) {
  return Tensor::of<int64_t>(std::move(shape), values);
}

using Samples = std::vector<std::vector<float>>;

}  // namespace

TEST_CASE("samples that a mask calls padding are not seen, in either layout") {
  Recorder recorder;
  TokenMask mask(recorder, Model{});
  const std::vector<float> x{1, 2, 3, 4, 5, 6};
  mask.see(0, 0, 1, x.data(), Features::kInner, 2, 3);  // no mask yet
  CHECK(recorder.samples == Samples{{1, 2}, {3, 4}, {5, 6}});
  mask.set(mask_of({1, 3}, {1, 0, 1}));
  mask.see(0, 0, 1, x.data(), Features::kInner, 2, 3);
  CHECK(recorder.samples == Samples{{1, 2}, {5, 6}});
  mask.see(0, 0, 1, x.data(), Features::kOuter, 2, 3);
  CHECK(recorder.samples == Samples{{1, 4}, {3, 6}});
  // Another number of samples: behind a pooling.
  mask.see(0, 0, 1, x.data(), Features::kInner, 3, 2);
  CHECK(recorder.samples == Samples{{1, 2, 3}, {4, 5, 6}});
  mask.set(Tensor::zeros(DType::kF32, {3}));
  mask.see(0, 0, 1, x.data(), Features::kInner, 2, 3);
  CHECK(recorder.calls == 4);
}

TEST_CASE("steps of recurrent layers are masked in batches of one sequence alone") {
  ModelBuilder m;
  const ValueId w = m.weight("w", random_tensor({1, 6, 2}, 1));
  const ValueId r = m.weight("r", random_tensor({1, 6, 2}, 2));
  m.model.graph.outputs = {m.node("GRU", "g", {m.input("x"), w, r}, {})};
  Recorder recorder;
  TokenMask mask(recorder, m.model);
  REQUIRE(mask.watch(m.model.graph.weights.at(w)));
  const std::vector<float> x{1, 2, 3, 4};
  mask.set(mask_of({2, 1}, {1, 0}));
  mask.see(0, 0, 3, x.data(), Features::kInner, 2, 2);
  CHECK(recorder.samples.size() == 2);
  mask.set(mask_of({1, 2}, {1, 0}));
  mask.see(0, 0, 3, x.data(), Features::kInner, 2, 2);
  CHECK(recorder.samples == Samples{{1, 2}});
}

}  // namespace espalier
