#pragma once

#include <cstddef>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/kernels/scratch.h"

namespace espalier {

/// A symmetric matrix from which products v v^T are subtracted one after the other: factorisations
/// and inverses in place. They wait until kWaiting have come, and then are one product of matrices;
/// a column that is read in between is brought up to date by itself.
///
/// Layout  the lower triangle in panels of kWidth columns, a cache line wide. A panel is stored row
///         after row from its diagonal block on, that block as a whole square. Columns that are
///         read and written are as long as whole panels.
/// Cost    rank * side^2 / 2 multiply-adds; memory: side^2 / 2 elements, and kWaiting vectors.
/// T       float or double
template <typename T>
class SymmetricPanels {
 public:
  static constexpr size_t kWidth = kLineBytes / sizeof(T);
  static constexpr size_t kWaiting = 64;

  /// All zeros.
  explicit SymmetricPanels(size_t side);

  size_t side() const { return side_; }

  /// Column `j` without what waits: to[i] is row i, of rows before `first` some.
  void read_stored(size_t j, T* to, size_t first = 0) const;
  /// The same with it.
  void read(size_t j, T* to, size_t first = 0) const;
  /// Column and row `j` become `from`, rows from `first` on (a multiple of kWidth). Nothing waits.
  void write(size_t j, const T* from, size_t first = 0);

  /// The matrix less v v^T; waits.
  void subtract(const T* v);
  size_t waiting() const { return waiting_; }
  /// What waits reaches rows and columns from `first` on (a multiple of kWidth): the others are out
  /// of date from then on. The same on any threads.
  void flush(size_t first = 0, ThreadPool* pool = nullptr);

  /// The first `side` rows and columns remain. Nothing waits.
  void cut(size_t side);

 private:
  struct alignas(kLineBytes) Line {
    T values[kWidth];
  };
  T* line(size_t p, size_t row);  // of panel `p`
  const T* line(size_t p, size_t row) const;
  void lay_rows(size_t first);

  size_t side_;
  std::vector<size_t> starts_;  // of panels, in lines
  std::vector<Line> values_;
  std::vector<Line> vectors_;  // what waits: a line's part of all vectors, then the next line's
  std::vector<T> rows_;        // the same, some rows together: as the product reads them
  size_t waiting_ = 0;
};

extern template class SymmetricPanels<float>;
extern template class SymmetricPanels<double>;

/// Rows that make up for a column that goes, in one pass over them.
///
/// w[r, j] -= share[r] v[j]; diagonal[j] -= v[j]^2; loss[j] = sum over r of w[r, j]^2 / diagonal[j]
/// + bar[j], diagonals of at most 0 counting as the smallest number there is. The lowest loss.
/// Layout  rows lie `stride` elements apart; whole lines of kLineBytes are read and written
template <typename T>
T make_up(T* w, size_t rows, size_t stride, size_t cols, const T* share, const T* v, T* diagonal,
          const T* bar, T* loss);

/// w[r, j] -= share[r] v[j] alone.
template <typename T>
void subtract_outer(T* w, size_t rows, size_t stride, size_t cols, const T* share, const T* v);

}  // namespace espalier
