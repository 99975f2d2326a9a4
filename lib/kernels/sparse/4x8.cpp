// Blocks of 4 outputs x 8 inputs; many samples go to the kernel for every shape, which is quicker
// there (docs/benchmarks.md).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse/4x8.cpp"
#define ESPALIER_ROWS 4
#define ESPALIER_COLS 8
#include "lib/kernels/sparse/block_loops-inl.h"

#if HWY_ONCE
namespace espalier {

extern const SparseKernel kernel_rows;

namespace {

constexpr size_t kManySamples = 64;

class Product4x8 final : public Product {
 public:
  explicit Product4x8(const SparseMatrix& weight)
      : weight_(weight), few_(make_block_product(weight, kLoops)) {}

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    if (n < kManySamples) return few_->run(x, features, n, bias, y, pool);
    if (many_ == nullptr) many_ = kernel_rows.prepare(weight_);
    many_->run(x, features, n, bias, y, pool);
  }

  std::unique_ptr<const PanelProduct> in_place(
      const std::function<uint32_t(size_t input)>& offset) const override {
    return few_->in_place(offset);
  }

  std::string_view kernel() const override { return kLoops.name; }
  size_t bytes() const override { return few_->bytes() + (many_ == nullptr ? 0 : many_->bytes()); }

 private:
  SparseMatrix weight_;  // shares its values with the model
  std::unique_ptr<const Product> few_;
  mutable std::unique_ptr<const Product> many_;  // not called by two threads at a time
};

std::unique_ptr<const Product> prepare(const SparseMatrix& weight) {
  return std::make_unique<Product4x8>(weight);
}

}  // namespace

extern constinit const SparseKernel kernel_4x8{
    .name = kLoops.name, .block = {4, 8}, .prepare = prepare};

}  // namespace espalier
#endif  // HWY_ONCE
