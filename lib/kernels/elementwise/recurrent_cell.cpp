// Cells of GRU and LSTM: gate sums, activations and the new state while they are in registers.
#include "lib/kernels/elementwise/recurrent_cell.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/elementwise/recurrent_cell.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after highway.h
#include "lib/kernels/elementwise/activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// body(d, i) for the lanes i .. of 0 .. count - 1: whole vectors, then one by one.
template <class Body>
HWY_INLINE void for_lanes(size_t count, const Body& body) {
  const hn::ScalableTag<float> d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) body(d, i);
  for (; i < count; ++i) body(hn::CappedTag<float, 1>(), i);
}

template <class D>
HWY_INLINE hn::Vec<D> sum_of(D d, const float* a, const float* b) {
  return hn::Add(hn::LoadU(d, a), hn::LoadU(d, b));
}

// (1 - z) n + z h
template <class D, class V = hn::Vec<D>>
HWY_INLINE void blend_into(D d, V z, V n, float* h) {
  hn::StoreU(hn::MulAdd(hn::LoadU(d, h), z, hn::NegMulAdd(n, z, n)), d, h);
}

void gru_cell_run(size_t hidden, const float* HWY_RESTRICT x, const float* HWY_RESTRICT s,
                  float* HWY_RESTRICT h) {
  for_lanes(hidden, [=](auto d, size_t i) HWY_ATTR {
    const size_t r_at = hidden + i, n_at = 2 * hidden + i;
    const auto r = sigmoid_of(d, sum_of(d, x + r_at, s + r_at));
    const auto z = sigmoid_of(d, sum_of(d, x + i, s + i));
    const auto n = tanh_of(d, hn::MulAdd(r, hn::LoadU(d, s + n_at), hn::LoadU(d, x + n_at)));
    blend_into(d, z, n, h + i);
  });
}

void gru_gates_run(size_t hidden, const float* HWY_RESTRICT x, float* HWY_RESTRICT s,
                   const float* HWY_RESTRICT h, float* HWY_RESTRICT reset) {
  for_lanes(hidden, [=](auto d, size_t i) HWY_ATTR {
    const auto r = sigmoid_of(d, sum_of(d, x + hidden + i, s + hidden + i));
    hn::StoreU(hn::Mul(r, hn::LoadU(d, h + i)), d, reset + i);
    hn::StoreU(sigmoid_of(d, sum_of(d, x + i, s + i)), d, s + i);
  });
}

void gru_update_run(size_t hidden, const float* HWY_RESTRICT x, const float* HWY_RESTRICT s,
                    const float* HWY_RESTRICT z, float* HWY_RESTRICT h) {
  for_lanes(hidden, [=](auto d, size_t i) HWY_ATTR {
    blend_into(d, hn::LoadU(d, z + i), tanh_of(d, sum_of(d, x + i, s + i)), h + i);
  });
}

void lstm_cell_run(size_t hidden, const float* HWY_RESTRICT x, const float* HWY_RESTRICT s,
                   const float* HWY_RESTRICT peephole, float* HWY_RESTRICT h,
                   float* HWY_RESTRICT c) {
  for_lanes(hidden, [=](auto d, size_t at) HWY_ATTR {
    // Sums of a gate, in the order i, o, f, g; the first three see the cell.
    const auto gate = [=](size_t index, auto cell) HWY_ATTR {
      const size_t place = index * hidden + at;
      const auto sum = sum_of(d, x + place, s + place);
      if (peephole == nullptr || index == 3) return sum;
      return hn::MulAdd(hn::LoadU(d, peephole + place), cell, sum);
    };
    const auto old = hn::LoadU(d, c + at);
    const auto i = sigmoid_of(d, gate(0, old)), f = sigmoid_of(d, gate(2, old));
    const auto g = tanh_of(d, gate(3, old));
    const auto cell = hn::MulAdd(i, g, hn::Mul(f, old));
    hn::StoreU(cell, d, c + at);
    hn::StoreU(hn::Mul(sigmoid_of(d, gate(1, cell)), tanh_of(d, cell)), d, h + at);
  });
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(gru_cell_run);
HWY_EXPORT(gru_gates_run);
HWY_EXPORT(gru_update_run);
HWY_EXPORT(lstm_cell_run);

void gru_cell(size_t hidden, const float* x, const float* s, float* h) {
  HWY_DYNAMIC_DISPATCH(gru_cell_run)(hidden, x, s, h);
}
void gru_gates(size_t hidden, const float* x, float* s, const float* h, float* reset) {
  HWY_DYNAMIC_DISPATCH(gru_gates_run)(hidden, x, s, h, reset);
}
void gru_update(size_t hidden, const float* x_n, const float* s_n, const float* z, float* h) {
  HWY_DYNAMIC_DISPATCH(gru_update_run)(hidden, x_n, s_n, z, h);
}
void lstm_cell(size_t hidden, const float* x, const float* s, const float* peephole, float* h,
               float* c) {
  HWY_DYNAMIC_DISPATCH(lstm_cell_run)(hidden, x, s, peephole, h, c);
}

}  // namespace espalier
#endif  // HWY_ONCE
