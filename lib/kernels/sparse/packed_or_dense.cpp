#include "lib/kernels/sparse/packed_or_dense.h"

#include <algorithm>

#include "lib/kernels/conv/conv_product.h"
#include "lib/kernels/dense/dense.h"
#include "lib/kernels/sparse_product.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

// Shares of the multiply-add peak with one sample, up to 15, up to 63, and more.
struct Shares {
  double one, few, some, many;

  double at(size_t n) const { return n == 1 ? one : n < 16 ? few : n < 64 ? some : many; }
};

constexpr size_t kLanes = 16;
// Multiply-adds of the peak that pass while a float is laid out, a line of them is begun, or a
// float is copied to a column.
constexpr double kPerLaidOut = 4, kPerLine = 100, kPerCopied = 5;

Shares dense_shares() { return {0.40, 0.90, 1.0, 1.0}; }

Shares packed_shares(BlockShape block) {
  const bool fours = block.cols % 4 == 0;
  if (block.rows % 16 == 0) return {0.38, 0.75, 0.82, 0.82};
  if (block == BlockShape{8, 4}) return {0.38, 0.75, 0.82, 0.82};
  if (block.rows % 8 == 0) return {0.25, 0.42, 0.80, 0.80};
  if (block == BlockShape{4, 8}) return {0.38, 0.68, 0.75, 0.75};
  if (block.rows >= 4) return {fours ? 0.19 : 0.04, fours ? 0.32 : 0.20, 0.55, 0.75};
  if (fours) return {0.065, 0.16, 0.28, 0.46};
  return {0.045, 0.12, 0.23, 0.44};
}

double dense_work(const SparseMatrix& weight) {
  return static_cast<double>(weight.fold.parts * weight.fold.rows) *
         static_cast<double>(weight.fold.cols);
}

// Time of the packed product for n samples, in multiply-adds at the peak.
double packed_time(const SparseMatrix& weight, size_t n) {
  const double stored = static_cast<double>(weight.values.count());
  return stored * static_cast<double>(n) / packed_shares(weight.block).at(n);
}

// Whether the weight's kernel has Product::in_place(): those for one block shape, in f32.
bool reads_in_place(const SparseMatrix& weight) {
  return weight.values.dtype() == DType::kF32 && !weight.has_diagonal() &&
         std::ranges::any_of(sparse_kernels(), [&](const SparseKernel* kernel) {
           return kernel->block == weight.block;
         });
}

// Time of a packed convolution: products, and what it moves.
double packed_time(const SparseMatrix& weight, const ConvWork& work) {
  const double stored = static_cast<double>(weight.values.count());
  return stored * static_cast<double>(work.samples) / packed_shares(weight.block).at(work.at_once) +
         kPerLaidOut * static_cast<double>(work.laid_out) +
         kPerLine * static_cast<double>(work.lines) + kPerCopied * static_cast<double>(work.copied);
}

class PackedOrDense final : public Product {
 public:
  PackedOrDense(std::unique_ptr<const Product> packed, const SparseMatrix& weight, RanDense flag,
                MeasuredChoice measured)
      : packed_(std::move(packed)),
        weight_(weight),
        flag_(std::move(flag)),
        measured_(std::move(measured)) {}

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    if (last_ == nullptr || n != last_n_) {
      last_ = packed_is_quicker(weight_, n, measured_) ? packed_.get() : &dense();
      last_n_ = n;
    }
    last_->run(x, features, n, bias, y, pool);
  }

  std::string_view kernel() const override {
    return last_ == nullptr ? packed_->kernel() : last_->kernel();
  }
  size_t bytes() const override {
    return packed_->bytes() + (dense_ == nullptr ? 0 : dense_->bytes());
  }

 private:
  const Product& dense() const {
    if (dense_ == nullptr) {
      const std::vector<float> values = to_f32(decode(weight_));
      dense_ =
          prepare_dense(values.data(), weight_.fold.parts * weight_.fold.rows, weight_.fold.cols);
      *flag_ = true;
    }
    return *dense_;
  }

  std::unique_ptr<const Product> packed_;
  SparseMatrix weight_;  // shares its values with the model
  RanDense flag_;
  MeasuredChoice measured_;
  mutable std::unique_ptr<const Product> dense_;  // not called by two threads at a time
  mutable const Product* last_ = nullptr;         // the choice for last_n_
  mutable size_t last_n_ = 0;
};

}  // namespace

bool packed_is_quicker(const SparseMatrix& weight, size_t n, const MeasuredChoice& measured) {
  if (measured != nullptr) {
    if (const std::optional<bool> packed = measured(weight, n)) return *packed;
  }
  return packed_time(weight, n) <=
         dense_work(weight) * static_cast<double>(n) / dense_shares().at(n);
}

bool packed_is_quicker(const SparseMatrix& weight, const ConvShape& shape, size_t batch,
                       size_t height, size_t width, const MeasuredChoice& measured) {
  const size_t image = im2col_columns(shape, height, width), places = batch * image;
  if (im2col_is_identity(shape)) return packed_is_quicker(weight, image, measured);
  const ConvWork work = conv_work(shape, height, width, batch, reads_in_place(weight));
  // Direct convolutions fill their registers with places of a line and with whole blocks of
  // channels in and out.
  const double channels = static_cast<double>(shape.channels_in / shape.groups);
  const double share = std::min(1.0, channels / kLanes) * (image >= 16 ? 1.1 : 0.69);
  return packed_time(weight, work) <= dense_work(weight) * static_cast<double>(places) / share;
}

std::unique_ptr<const Product> packed_or_dense(std::unique_ptr<const Product> packed,
                                               const SparseMatrix& weight, RanDense flag,
                                               MeasuredChoice measured) {
  return std::make_unique<PackedOrDense>(std::move(packed), weight, std::move(flag),
                                         std::move(measured));
}

}  // namespace espalier
