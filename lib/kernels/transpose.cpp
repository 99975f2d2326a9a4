#include "lib/kernels/transpose.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/transpose.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/held_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

struct Matrices {
  const float* from;
  size_t rows, cols, from_stride;
  float* to;
  size_t to_stride;
};

HWY_INLINE void piece(const Matrices& m, size_t r, size_t rows, size_t c, size_t cols) {
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < cols; ++j)
      m.to[(c + j) * m.to_stride + r + i] = m.from[(r + i) * m.from_stride + c + j];
}

#if HWY_TARGET == HWY_SCALAR
constexpr size_t kSide = 4;
HWY_INLINE void tile(const Matrices& m, size_t r, size_t c) { piece(m, r, 4, c, 4); }
#else
// Sides of a square that is turned round in registers.
using D = hn::CappedTag<float, 8>;
constexpr size_t kSide = HWY_MAX(size_t{4}, hn::MaxLanes(D()));

// Four rows of which each 128 bits are turned round: column i of them in 128 bits of turned[i].
HWY_INLINE void turn_four(D d, const float* from, size_t stride, Held<D>* HWY_RESTRICT turned) {
  const auto r0 = hn::LoadU(d, from), r1 = hn::LoadU(d, from + stride),
             r2 = hn::LoadU(d, from + 2 * stride), r3 = hn::LoadU(d, from + 3 * stride);
  const auto low02 = hn::InterleaveLower(d, r0, r2), low13 = hn::InterleaveLower(d, r1, r3),
             high02 = hn::InterleaveUpper(d, r0, r2), high13 = hn::InterleaveUpper(d, r1, r3);
  turned[0] = hn::InterleaveLower(d, low02, low13);
  turned[1] = hn::InterleaveUpper(d, low02, low13);
  turned[2] = hn::InterleaveLower(d, high02, high13);
  turned[3] = hn::InterleaveUpper(d, high02, high13);
}

HWY_INLINE void tile(const Matrices& m, size_t r, size_t c) {
  const D d;
  const float* from = m.from + r * m.from_stride + c;
  float* to = m.to + c * m.to_stride + r;
  Held<D> upper[4];
  turn_four(d, from, m.from_stride, upper);
#if HWY_MAX_BYTES > 16
  if constexpr (kSide == 8) {
    Held<D> lower[4];
    turn_four(d, from + 4 * m.from_stride, m.from_stride, lower);
    HWY_UNROLL(4)
    for (size_t i = 0; i < 4; ++i) {
      hn::StoreU(hn::ConcatLowerLower(d, lower[i], upper[i]), d, to + i * m.to_stride);
      hn::StoreU(hn::ConcatUpperUpper(d, lower[i], upper[i]), d, to + (4 + i) * m.to_stride);
    }
    return;
  }
#endif
  HWY_UNROLL(4)
  for (size_t i = 0; i < 4; ++i) hn::StoreU(upper[i], d, to + i * m.to_stride);
}
#endif

// Strips of rows, so that the lines read stay in the first cache until all of them is used.
void Transpose(const Matrices& m) {
  constexpr size_t kStrip = 64;
  const size_t whole_cols = m.cols / kSide * kSide;
  for (size_t first = 0; first < m.rows; first += kStrip) {
    const size_t last = HWY_MIN(first + kStrip, m.rows);
    const size_t whole = first + (last - first) / kSide * kSide;
    for (size_t c = 0; c < whole_cols; c += kSide) {
      for (size_t r = first; r < whole; r += kSide) tile(m, r, c);
      piece(m, whole, last - whole, c, kSide);
    }
    piece(m, first, last - first, whole_cols, m.cols - whole_cols);
  }
}

void TransposeMatrix(const float* from, size_t rows, size_t cols, size_t from_stride, float* to,
                     size_t to_stride) {
  Transpose({from, rows, cols, from_stride, to, to_stride});
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(TransposeMatrix);

void transpose(const float* from, size_t rows, size_t cols, size_t from_stride, float* to,
               size_t to_stride) {
  HWY_DYNAMIC_DISPATCH(TransposeMatrix)(from, rows, cols, from_stride, to, to_stride);
}

}  // namespace espalier
#endif
