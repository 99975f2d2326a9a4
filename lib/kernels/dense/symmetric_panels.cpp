#include "lib/kernels/dense/symmetric_panels.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <type_traits>

#include "lib/base/check.h"
#include "lib/base/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/dense/symmetric_panels.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/held_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_HAVE_SCALABLE
// Doubles as held_vector-inl.h has floats.
typedef svfloat64_t HeldDoubles __attribute__((arm_sve_vector_bits(HWY_MAX_BYTES * 8)));
template <>
struct HeldOf<double> {
  using type = HeldDoubles;
};
#endif

namespace {

constexpr size_t kPanelRows = 12;  // of A, together

template <typename T>
using LineTag = hn::CappedTag<T, kLineBytes / sizeof(T)>;  // its lanes divide a line

// Some rows of a panel, C [rows, a line] -= A B^T, of `rank` products: of A twelve rows together lie
// product after product, and so does B.
template <typename T>
struct Update {
  T* c;
  size_t rows;
  const T *a, *b;
  size_t rank;
  const T* next;  // rows that come after these: read ahead
};

// kRows rows from `row` on, kVectors vectors of the line from `lane` on.
template <typename T, size_t kRows, size_t kVectors>
HWY_INLINE void tile(const Update<T>& u, size_t row, size_t lane) {
  const LineTag<T> d;
  constexpr size_t kWidth = kLineBytes / sizeof(T);
  const size_t lanes = hn::Lanes(d);
  Held<LineTag<T>> sum[kRows][kVectors], b[kVectors];
  T* c = u.c + row * kWidth + lane;
  HWY_UNROLL(16)
  for (size_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::Load(d, c + r * kWidth + v * lanes);
  }
  const T* a = u.a + row / kPanelRows * kPanelRows * u.rank + row % kPanelRows;
  const T* from_b = u.b + lane;
  for (size_t k = 0; k < u.rank; ++k, a += kPanelRows, from_b += kWidth) {
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) b[v] = hn::Load(d, from_b + v * lanes);
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      const auto one = hn::Set(d, a[r]);
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::NegMulAdd(one, b[v], sum[r][v]);
    }
  }
  HWY_UNROLL(16)
  for (size_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) hn::Store(sum[r][v], d, c + r * kWidth + v * lanes);
  }
}

// Twelve sums hide the latency of multiply-adds and leave registers for B and a row of A.
template <typename T>
HWY_INLINE void update(const Update<T>& u) {
  constexpr size_t kInLine = kLineBytes / sizeof(T) / hn::MaxLanes(LineTag<T>());
  constexpr size_t kVectors = HWY_MIN(size_t{2}, kInLine), kRows = 12 / kVectors;
  static_assert(kPanelRows % kRows == 0);
  for (size_t row = 0; row < u.rows; row += kRows) {
    for (size_t r = row; r < row + kRows; ++r) hwy::Prefetch(u.next + r * (kLineBytes / sizeof(T)));
    for (size_t v = 0; v < kInLine; v += kVectors)
      tile<T, kRows, kVectors>(u, row, v * hn::Lanes(LineTag<T>()));
  }
}

// Of each line: to -= sum over k of by[k] v[k]; the `rank` vectors' parts of a line lie together,
// those of the next one `step` elements on. Two chains of sums.
template <typename T>
HWY_INLINE void combine(T* HWY_RESTRICT to, size_t lines, const T* HWY_RESTRICT v, size_t step,
                        size_t rank, const T* HWY_RESTRICT by) {
  const LineTag<T> d;
  constexpr size_t kWidth = kLineBytes / sizeof(T);
  for (size_t line = 0; line < lines; ++line, v += step, to += kWidth) {
    for (size_t lane = 0; lane < kWidth; lane += hn::Lanes(d)) {
      auto even = hn::LoadU(d, to + lane), odd = hn::Zero(d);
      size_t k = 0;
      for (; k + 2 <= rank; k += 2) {
        even = hn::NegMulAdd(hn::Set(d, by[k]), hn::Load(d, v + k * kWidth + lane), even);
        odd = hn::MulAdd(hn::Set(d, by[k + 1]), hn::Load(d, v + (k + 1) * kWidth + lane), odd);
      }
      if (k < rank)
        even = hn::NegMulAdd(hn::Set(d, by[k]), hn::Load(d, v + k * kWidth + lane), even);
      hn::StoreU(hn::Sub(even, odd), d, to + lane);
    }
  }
}

template <typename T>
struct Rows {
  T* w;
  size_t rows, stride, cols;
  const T *share, *v;
};

// Takes share[r] v from each row r of w, v^2 from the diagonal, and writes what removing each column would
// now cost: the sum of its squares over what is left of the diagonal, plus bar. Returns the lowest.
template <typename T>
HWY_INLINE T make_up_rows(const Rows<T>& all, T* HWY_RESTRICT diagonal, const T* HWY_RESTRICT bar,
                          T* HWY_RESTRICT loss) {
  const LineTag<T> d;
  const auto least = hn::Set(d, std::numeric_limits<T>::min());
  auto lowest = hn::Set(d, std::numeric_limits<T>::infinity());
  for (size_t j = 0; j < all.cols; j += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, all.v + j);
    auto even = hn::Zero(d), odd = hn::Zero(d);
    T* w = all.w + j;
    size_t r = 0;
    for (; r + 2 <= all.rows; r += 2, w += 2 * all.stride) {
      const auto w0 = hn::NegMulAdd(hn::Set(d, all.share[r]), v, hn::LoadU(d, w));
      const auto w1 = hn::NegMulAdd(hn::Set(d, all.share[r + 1]), v, hn::LoadU(d, w + all.stride));
      hn::StoreU(w0, d, w);
      hn::StoreU(w1, d, w + all.stride);
      even = hn::MulAdd(w0, w0, even);
      odd = hn::MulAdd(w1, w1, odd);
    }
    if (r < all.rows) {
      const auto w0 = hn::NegMulAdd(hn::Set(d, all.share[r]), v, hn::LoadU(d, w));
      hn::StoreU(w0, d, w);
      even = hn::MulAdd(w0, w0, even);
    }
    const auto left = hn::NegMulAdd(v, v, hn::LoadU(d, diagonal + j));
    hn::StoreU(left, d, diagonal + j);
    const auto cost =
        hn::Add(hn::Div(hn::Add(even, odd), hn::Max(left, least)), hn::LoadU(d, bar + j));
    hn::StoreU(cost, d, loss + j);
    lowest = hn::Min(lowest, cost);
  }
  return hn::GetLane(hn::MinOfLanes(d, lowest));
}

template <typename T>
HWY_INLINE void subtract_rows(const Rows<T>& all) {
  const LineTag<T> d;
  for (size_t r = 0; r < all.rows; ++r) {
    T* w = all.w + r * all.stride;
    const auto share = hn::Set(d, all.share[r]);
    for (size_t j = 0; j < all.cols; j += hn::Lanes(d))
      hn::StoreU(hn::NegMulAdd(share, hn::LoadU(d, all.v + j), hn::LoadU(d, w + j)), d, w + j);
  }
}

// clang-format off
#define ESPALIER_PANELS(T, name)                                                                   \
  void Update##name(T* c, size_t rows, const T* a, const T* b, size_t rank, const T* next) {       \
    update(Update<T>{c, rows, a, b, rank, next});                                                  \
  }                                                                                                \
  void Combine##name(T* to, size_t lines, const T* v, size_t step, size_t rank, const T* by) {     \
    combine(to, lines, v, step, rank, by);                                                         \
  }                                                                                                \
  T MakeUp##name(T* w, size_t rows, size_t stride, size_t cols, const T* share, const T* v,        \
                 T* diagonal, const T* bar, T* loss) {                                             \
    return make_up_rows(Rows<T>{w, rows, stride, cols, share, v}, diagonal, bar, loss);            \
  }                                                                                                \
  void SubtractRows##name(T* w, size_t rows, size_t stride, size_t cols, const T* share,           \
                          const T* v) {                                                            \
    subtract_rows(Rows<T>{w, rows, stride, cols, share, v});                                       \
  }
// clang-format on
ESPALIER_PANELS(float, F32)
#if HWY_HAVE_FLOAT64
ESPALIER_PANELS(double, F64)
#else
// No vectors of doubles (NEON of armv7): plain loops.
constexpr size_t kDoubles = kLineBytes / sizeof(double);

void UpdateF64(double* c, size_t rows, const double* a, const double* b, size_t rank,
               const double* /*next*/) {
  for (size_t row = 0; row < rows; ++row, c += kDoubles) {
    const double* by = a + row / kPanelRows * kPanelRows * rank + row % kPanelRows;
    for (size_t k = 0; k < rank; ++k, by += kPanelRows) {
      for (size_t i = 0; i < kDoubles; ++i) c[i] -= *by * b[k * kDoubles + i];
    }
  }
}

void CombineF64(double* to, size_t lines, const double* v, size_t step, size_t rank,
                const double* by) {
  for (size_t line = 0; line < lines; ++line, v += step, to += kDoubles) {
    for (size_t k = 0; k < rank; ++k) {
      for (size_t i = 0; i < kDoubles; ++i) to[i] -= by[k] * v[k * kDoubles + i];
    }
  }
}

void SubtractRowsF64(double* w, size_t rows, size_t stride, size_t cols, const double* share,
                     const double* v) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < cols; ++j) w[r * stride + j] -= share[r] * v[j];
  }
}

double MakeUpF64(double* w, size_t rows, size_t stride, size_t cols, const double* share,
                 const double* v, double* diagonal, const double* bar, double* loss) {
  SubtractRowsF64(w, rows, stride, cols, share, v);
  double lowest = std::numeric_limits<double>::infinity();
  for (size_t j = 0; j < cols; ++j) {
    double squares = 0;
    for (size_t r = 0; r < rows; ++r) squares += w[r * stride + j] * w[r * stride + j];
    diagonal[j] -= v[j] * v[j];
    loss[j] = squares / std::max(diagonal[j], std::numeric_limits<double>::min()) + bar[j];
    lowest = std::min(lowest, loss[j]);
  }
  return lowest;
}
#endif
#undef ESPALIER_PANELS

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {
namespace {

constexpr size_t kPanelRows = 12;  // as above: rows of A that lie together

}  // namespace

HWY_EXPORT(UpdateF32);
HWY_EXPORT(UpdateF64);
HWY_EXPORT(CombineF32);
HWY_EXPORT(CombineF64);
HWY_EXPORT(MakeUpF32);
HWY_EXPORT(MakeUpF64);
HWY_EXPORT(SubtractRowsF32);
HWY_EXPORT(SubtractRowsF64);

namespace {

// Calls the instruction set's function for floats or for doubles.
template <typename T, typename F, typename G, typename... Args>
auto by_type(F for_float, G for_double, Args... args) {
  if constexpr (std::is_same_v<T, float>) {
    return for_float(args...);
  } else {
    return for_double(args...);
  }
}

// Rows of a panel's first tile may lie above its diagonal block: room that nobody reads.
size_t first_row(size_t panel, size_t width) { return panel * width / kPanelRows * kPanelRows; }

// Rows that are brought up to date together: what is subtracted from them fits the second cache,
// and is used for all panels.
constexpr size_t kChunk = 20 * kPanelRows;

}  // namespace

template <typename T>
SymmetricPanels<T>::SymmetricPanels(size_t side)
    : side_(side), vectors_(ceil_div(side, kWidth) * kWaiting) {
  size_t lines = 0;
  for (size_t p = 0; p < ceil_div(side, kWidth); ++p) {
    starts_.push_back(lines);
    lines += round_up(side, kPanelRows) - first_row(p, kWidth);
  }
  values_.resize(lines);
}

template <typename T>
T* SymmetricPanels<T>::line(size_t p, size_t row) {
  return values_[starts_[p] + row - first_row(p, kWidth)].values;
}
template <typename T>
const T* SymmetricPanels<T>::line(size_t p, size_t row) const {
  return values_[starts_[p] + row - first_row(p, kWidth)].values;
}

template <typename T>
void SymmetricPanels<T>::read_stored(size_t j, T* to, size_t first) const {
  const size_t own = j / kWidth;
  for (size_t p = first / kWidth; p < own; ++p) std::copy_n(line(p, j), kWidth, to + p * kWidth);
  const T* from = line(own, own * kWidth) + j % kWidth;
  for (size_t i = own * kWidth; i < side_; ++i, from += kWidth) to[i] = *from;
}

template <typename T>
void SymmetricPanels<T>::read(size_t j, T* to, size_t first) const {
  read_stored(j, to, first);
  if (waiting_ == 0) return;
  T by[kWaiting];
  for (size_t k = 0; k < waiting_; ++k)
    by[k] = vectors_[j / kWidth * kWaiting + k].values[j % kWidth];
  const size_t p = first / kWidth;
  by_type<T>(&HWY_DYNAMIC_DISPATCH(CombineF32), &HWY_DYNAMIC_DISPATCH(CombineF64), to + p * kWidth,
             ceil_div(side_, kWidth) - p, vectors_[p * kWaiting].values, kWaiting * kWidth,
             waiting_, by);
}

template <typename T>
void SymmetricPanels<T>::write(size_t j, const T* from, size_t first) {
  ESPALIER_CHECK(waiting_ == 0);
  const size_t own = j / kWidth;
  for (size_t p = first / kWidth; p < own; ++p) std::copy_n(from + p * kWidth, kWidth, line(p, j));
  T* to = line(own, own * kWidth) + j % kWidth;
  for (size_t i = own * kWidth; i < side_; ++i, to += kWidth) *to = from[i];
  for (size_t i = own * kWidth; i < std::min(side_, (own + 1) * kWidth); ++i)
    line(own, j)[i % kWidth] = from[i];
}

template <typename T>
void SymmetricPanels<T>::subtract(const T* v) {
  ESPALIER_CHECK(waiting_ < kWaiting);
  for (size_t i = 0; i < side_; i += kWidth)
    std::copy_n(v + i, std::min(kWidth, side_ - i),
                vectors_[i / kWidth * kWaiting + waiting_].values);
  ++waiting_;
}

template <typename T>
void SymmetricPanels<T>::lay_rows(size_t first) {
  rows_.resize(round_up(side_, kPanelRows) * kWaiting);
  for (size_t row = first / kPanelRows * kPanelRows; row < side_; row += kPanelRows) {
    T* to = rows_.data() + row * waiting_;
    const size_t count = std::min(kPanelRows, side_ - row);
    for (size_t k = 0; k < waiting_; ++k, to += kPanelRows) {
      for (size_t r = 0; r < count; ++r)
        to[r] = vectors_[(row + r) / kWidth * kWaiting + k].values[(row + r) % kWidth];
    }
  }
}

template <typename T>
void SymmetricPanels<T>::flush(size_t first, ThreadPool* pool) {
  if (waiting_ == 0) return;
  ESPALIER_CHECK(first % kWidth == 0);
  lay_rows(first);
  // The last rows, which most panels have, first.
  const size_t chunks =
      first < side_ ? ceil_div(side_ - first_row(first / kWidth, kWidth), kChunk) : 0;
  const auto update = [&](size_t i) {
    const size_t from = first_row(first / kWidth, kWidth) + (chunks - 1 - i) * kChunk;
    const size_t until = std::min(from + kChunk, side_);
    const auto start = [&](size_t p) { return line(p, std::max(from, first_row(p, kWidth))); };
    for (size_t p = first / kWidth; p * kWidth < until; ++p) {
      const size_t row = std::max(from, first_row(p, kWidth));
      const T* next = start((p + 1) * kWidth < until ? p + 1 : p);
      by_type<T>(&HWY_DYNAMIC_DISPATCH(UpdateF32), &HWY_DYNAMIC_DISPATCH(UpdateF64), start(p),
                 until - row, rows_.data() + row * waiting_, vectors_[p * kWaiting].values,
                 waiting_, next);
    }
  };
  if (pool != nullptr) {
    pool->for_each(chunks, update);
  } else {
    for (size_t i = 0; i < chunks; ++i) update(i);
  }
  waiting_ = 0;
}

template <typename T>
void SymmetricPanels<T>::cut(size_t side) {
  ESPALIER_CHECK(waiting_ == 0 && side <= side_);
  side_ = side;
}

template class SymmetricPanels<float>;
template class SymmetricPanels<double>;

template <typename T>
T make_up(T* w, size_t rows, size_t stride, size_t cols, const T* share, const T* v, T* diagonal,
          const T* bar, T* loss) {
  return by_type<T>(&HWY_DYNAMIC_DISPATCH(MakeUpF32), &HWY_DYNAMIC_DISPATCH(MakeUpF64), w, rows,
                    stride, cols, share, v, diagonal, bar, loss);
}
template float make_up(float*, size_t, size_t, size_t, const float*, const float*, float*,
                       const float*, float*);
template double make_up(double*, size_t, size_t, size_t, const double*, const double*, double*,
                        const double*, double*);

template <typename T>
void subtract_outer(T* w, size_t rows, size_t stride, size_t cols, const T* share, const T* v) {
  by_type<T>(&HWY_DYNAMIC_DISPATCH(SubtractRowsF32), &HWY_DYNAMIC_DISPATCH(SubtractRowsF64), w,
             rows, stride, cols, share, v);
}
template void subtract_outer(float*, size_t, size_t, size_t, const float*, const float*);
template void subtract_outer(double*, size_t, size_t, size_t, const double*, const double*);

}  // namespace espalier
#endif
