#include "lib/kernels/dense/dense_vector.h"

#include <algorithm>

#include "lib/base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/dense/dense_vector.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kPanel = 16;
using D = hn::CappedTag<float, kPanel>;  // its lanes divide a panel
using V = hn::Vec<D>;

struct Product {
  const float* panels;
  size_t rows, k;
  const float *x, *bias;
  float* y;
};

// Where vector j of the rows begins: its values for each column lie kPanel apart.
HWY_INLINE const float* rows_at(D d, const Product& p, size_t j) {
  const size_t lanes = hn::Lanes(d), per_panel = kPanel / lanes;
  return p.panels + j / per_panel * p.k * kPanel + j % per_panel * lanes;
}

HWY_INLINE void finish(D d, const Product& p, size_t j, V sum) {
  const size_t lanes = hn::Lanes(d), first = j * lanes;
  if (first + lanes <= p.rows) {
    if (p.bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, p.bias + first));
    hn::StoreU(sum, d, p.y + first);
    return;
  }
  HWY_ALIGN float sums[kPanel];
  hn::Store(sum, d, sums);
  for (size_t r = first; r < p.rows; ++r)
    p.y[r] = sums[r - first] + (p.bias == nullptr ? 0.0F : p.bias[r]);
}

// Eight sums hide the latency of multiply-adds on all that espalier is compiled for.
HWY_INLINE void eight_vectors(D d, const Product& p, size_t j) {
  const float *w0 = rows_at(d, p, j), *w1 = rows_at(d, p, j + 1), *w2 = rows_at(d, p, j + 2),
              *w3 = rows_at(d, p, j + 3), *w4 = rows_at(d, p, j + 4), *w5 = rows_at(d, p, j + 5),
              *w6 = rows_at(d, p, j + 6), *w7 = rows_at(d, p, j + 7);
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (size_t c = 0; c < p.k; ++c) {
    const V x = hn::Set(d, p.x[c]);
    const size_t at = c * kPanel;
    s0 = hn::MulAdd(hn::Load(d, w0 + at), x, s0);
    s1 = hn::MulAdd(hn::Load(d, w1 + at), x, s1);
    s2 = hn::MulAdd(hn::Load(d, w2 + at), x, s2);
    s3 = hn::MulAdd(hn::Load(d, w3 + at), x, s3);
    s4 = hn::MulAdd(hn::Load(d, w4 + at), x, s4);
    s5 = hn::MulAdd(hn::Load(d, w5 + at), x, s5);
    s6 = hn::MulAdd(hn::Load(d, w6 + at), x, s6);
    s7 = hn::MulAdd(hn::Load(d, w7 + at), x, s7);
  }
  finish(d, p, j, s0);
  finish(d, p, j + 1, s1);
  finish(d, p, j + 2, s2);
  finish(d, p, j + 3, s3);
  finish(d, p, j + 4, s4);
  finish(d, p, j + 5, s5);
  finish(d, p, j + 6, s6);
  finish(d, p, j + 7, s7);
}

HWY_INLINE void two_vectors(D d, const Product& p, size_t j) {
  const float *w0 = rows_at(d, p, j), *w1 = rows_at(d, p, j + 1);
  V s0 = hn::Zero(d), s1 = s0;
  for (size_t c = 0; c < p.k; ++c) {
    const V x = hn::Set(d, p.x[c]);
    s0 = hn::MulAdd(hn::Load(d, w0 + c * kPanel), x, s0);
    s1 = hn::MulAdd(hn::Load(d, w1 + c * kPanel), x, s1);
  }
  finish(d, p, j, s0);
  finish(d, p, j + 1, s1);
}

HWY_INLINE void one_vector(D d, const Product& p, size_t j) {
  const float* w = rows_at(d, p, j);
  V sum = hn::Zero(d);
  for (size_t c = 0; c < p.k; ++c)
    sum = hn::MulAdd(hn::Load(d, w + c * kPanel), hn::Set(d, p.x[c]), sum);
  finish(d, p, j, sum);
}

void Multiply(const Product& p) {
  const D d;
  const size_t vectors = (p.rows + hn::Lanes(d) - 1) / hn::Lanes(d);
  size_t j = 0;
  for (; j + 8 <= vectors; j += 8) eight_vectors(d, p, j);
  for (; j + 2 <= vectors; j += 2) two_vectors(d, p, j);
  if (j < vectors) one_vector(d, p, j);
}

void MultiplyVector(const float* panels, size_t rows, size_t k, const float* x, const float* bias,
                    float* y) {
  Multiply({panels, rows, k, x, bias, y});
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(MultiplyVector);

DensePanels::DensePanels(const float* weight, size_t rows, size_t k)
    : rows_(rows),
      k_(k),
      panels_(Tensor::zeros(DType::kF32, {static_cast<int64_t>(round_up(rows, size_t{16}) * k)})) {
  float* to = panels_.mutable_data<float>().data();
  for (size_t first = 0; first < rows; first += 16) {
    for (size_t c = 0; c < k; ++c) {
      for (size_t r = first; r < first + 16; ++r) *to++ = r < rows ? weight[r * k + c] : 0.0F;
    }
  }
}

void DensePanels::run(const float* x, const float* bias, float* y) const {
  HWY_DYNAMIC_DISPATCH(MultiplyVector)
  (panels_.data<float>().data(), rows_, k_, x, bias, y);
}

void DensePanels::unpack(float* weight) const {
  const float* from = panels_.data<float>().data();
  for (size_t first = 0; first < rows_; first += 16) {
    for (size_t c = 0; c < k_; ++c) {
      for (size_t r = first; r < first + 16; ++r, ++from) {
        if (r < rows_) weight[r * k_ + c] = *from;
      }
    }
  }
}

}  // namespace espalier
#endif
