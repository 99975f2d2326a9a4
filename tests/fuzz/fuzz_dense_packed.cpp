#include "lib/kernels/dense/dense.h"
#include "tests/fuzz/fuzz_product.h"

// A packed weight computes what the dense weight that it decodes to computes: by every kernel that
// takes its blocks, by the one that is picked, and rounded to narrower values.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace espalier;
  FuzzInput input(data, size);
  const FuzzProduct one(input);
  // The yardstick is a loop of this file, in f64.
  std::vector<float> wanted(one.m * one.n);
  const auto product = [&](const Tensor& weight) {
    for (size_t s = 0; s < one.n; ++s) {
      for (size_t r = 0; r < one.m; ++r) {
        double sum = one.bias.empty() ? 0 : one.bias[r];
        for (size_t c = 0; c < one.k; ++c) {
          const bool inner = one.features == Features::kInner;
          sum += static_cast<double>(weight.data<float>()[r * one.k + c]) *
                 one.x[inner ? s * one.k + c : c * one.n + s];
        }
        wanted[one.features == Features::kInner ? s * one.m + r : r * one.n + s] =
            static_cast<float>(sum);
      }
    }
  };
  product(one.dense);
  one.check_equal(one.run(*prepare_dense(one.dense.data<float>().data(), one.m, one.k)), wanted,
                  one.rounding());
  one.check_equal(one.run(*prepare_sparse(one.packed)), wanted, one.rounding());
  for (const SparseKernel* kernel : sparse_kernels()) {
    if (!takes(*kernel, one.packed)) continue;
    one.check_equal(one.run(*kernel->prepare(one.packed)), wanted, one.rounding());
  }
  constexpr DType kTypes[] = {DType::kF16, DType::kBF16, DType::kI8};
  const SparseMatrix narrow = with_values(one.packed, input.one_of(kTypes));
  const std::vector<float> decoded = to_f32(decode(narrow));
  Tensor weight = Tensor::zeros(DType::kF32, one.dense.shape());
  for (size_t r = 0; r < one.m; ++r) {
    for (size_t c = 0; c < one.k; ++c)
      weight.mutable_data<float>()[r * one.k + c] = decoded[narrow.fold.offset(0, r, c)];
  }
  product(weight);
  one.check_equal(one.run(*prepare_sparse(narrow, false, /*exact=*/true)), wanted, one.rounding());
  return 0;
}
