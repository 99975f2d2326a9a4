#include "lib/calibrate/moment_sums.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/dense/multiply_matrices.h"

namespace espalier {
namespace {

// A number in [0, 1) for call number `index` (SplitMix64).
double jitter(uint64_t index) {
  uint64_t z = (index + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

}  // namespace

void for_each_sample(const float* x, Features features, size_t inputs, size_t n, size_t positions,
                     uint64_t& calls, const std::function<void(const float*, size_t)>& sample) {
  if (features == Features::kInner) {
    for (size_t i = 0; i < n; ++i) sample(x + i * inputs, 1);
    return;
  }
  const size_t taken = positions == 0 ? n : std::min(n, positions);
  const double start = taken == n ? 0 : jitter(calls++);
  for (size_t i = 0; i < taken; ++i) {
    const auto at = static_cast<size_t>((static_cast<double>(i) + start) * static_cast<double>(n) /
                                        static_cast<double>(taken));
    sample(x + std::min(at, n - 1), n);
  }
}

void add_products(const std::vector<float>& a, const std::vector<float>& b, size_t inputs,
                  std::vector<float>& product, std::span<double> sums, ThreadPool& pool) {
  product.resize(inputs * inputs);
  multiply_matrices({a.data(), true}, {b.data(), false}, inputs, a.size() / inputs, inputs,
                    product.data(), pool);
  for (size_t i = 0; i < product.size(); ++i) sums[i] += static_cast<double>(product[i]);
}

std::vector<float> means_of(const std::vector<float>& samples, size_t inputs) {
  std::vector<double> sums(inputs, 0.0);
  for (size_t at = 0; at < samples.size(); at += inputs) {
    for (size_t i = 0; i < inputs; ++i) sums[i] += samples[at + i];
  }
  const double n = static_cast<double>(samples.size()) / static_cast<double>(inputs);
  std::vector<float> means(inputs);
  for (size_t i = 0; i < inputs; ++i) means[i] = static_cast<float>(sums[i] / n);
  return means;
}

void take_off(const std::vector<float>& means, std::vector<float>& samples) {
  for (size_t at = 0; at < samples.size(); at += means.size()) {
    for (size_t i = 0; i < means.size(); ++i) samples[at + i] -= means[i];
  }
}

void restore_means(const std::vector<float>& a0, const std::vector<float>& b0,
                   std::span<const double> mean_a, std::span<const double> mean_b, double n,
                   std::span<const double> sums, std::span<double> moments) {
  const size_t inputs = a0.size();
  for (size_t i = 0; i < inputs; ++i) {
    // E[a b] = E[(a - a0) (b - b0)] + a0 E[b] + E[a - a0] b0
    for (size_t j = 0; j < inputs; ++j) {
      moments[i * inputs + j] =
          sums[i * inputs + j] / n + double{a0[i]} * mean_b[j] + (mean_a[i] - a0[i]) * b0[j];
    }
  }
}

void make_symmetric(std::span<double> moments, size_t inputs) {
  for (size_t i = 0; i < inputs; ++i) {
    for (size_t j = 0; j < i; ++j) {
      double &a = moments[i * inputs + j], &b = moments[j * inputs + i];
      a = b = (a + b) / 2;
    }
  }
}

MomentSums::MomentSums(size_t first_part, size_t parts, size_t inputs, std::vector<float>& product)
    : first_part_(first_part),
      parts_(parts),
      inputs_(inputs),
      second_(Tensor::zeros(DType::kF64,
                            {static_cast<int64_t>(inputs), static_cast<int64_t>(inputs)})),
      mean_(inputs, 0.0),
      product_(product) {}

void MomentSums::add(const float* x, Features features, size_t n, size_t positions,
                     ThreadPool& pool) {
  for_each_sample(x, features, inputs_, n, positions, calls_,
                  [&](const float* at, size_t stride) { add_sample(at, stride, pool); });
}

void MomentSums::add_sample(const float* x, size_t stride, ThreadPool& pool) {
  if (waiting_.empty()) waiting_.reserve(kSamplesTogether * inputs_);
  const size_t start = waiting_.size();
  waiting_.resize(start + inputs_);
  bool finite = true;
  for (size_t i = 0; i < inputs_; ++i) {
    waiting_[start + i] = x[i * stride];
    finite = finite && std::isfinite(x[i * stride]);
  }
  if (!finite) {
    waiting_.resize(start);
    ++not_finite_;
    return;
  }
  ++samples_;
  if (waiting_.size() >= kSamplesTogether * inputs_) flush(pool);
}

void MomentSums::flush(ThreadPool& pool) {
  const size_t count = waiting_.size() / inputs_;
  if (count == 0) return;
  for (size_t sample = 0; sample < count; ++sample) {
    for (size_t i = 0; i < inputs_; ++i) mean_[i] += waiting_[sample * inputs_ + i];
  }
  if (means_.empty()) means_ = means_of(waiting_, inputs_);
  take_off(means_, waiting_);
  add_products(waiting_, waiting_, inputs_, product_, second_.mutable_data<double>(), pool);
  waiting_.clear();
}

InputMoments MomentSums::result(ThreadPool& pool) {
  flush(pool);
  const auto side = static_cast<int64_t>(inputs_);
  InputMoments moments{first_part_, parts_, samples_, std::move(second_),
                       Tensor::zeros(DType::kF64, {side})};
  waiting_ = {};
  const auto second = moments.second.mutable_data<double>();
  const auto mean = moments.mean.mutable_data<double>();
  if (samples_ == 0) return moments;
  const auto n = static_cast<double>(samples_);
  for (size_t i = 0; i < inputs_; ++i) mean[i] = mean_[i] / n;
  restore_means(means_, means_, mean, mean, n, second, second);
  make_symmetric(second, inputs_);
  return moments;
}

}  // namespace espalier
