#include "lib/sparse/mask_dense.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lib/sparse/element_bits.h"
#include "lib/tensor/buffer.h"

namespace espalier {
namespace {

// Lines are the weight's memory lines: rows of a part, or columns where it is transposed. A strip
// is the lines of one block row (or block column): they share one line of bits to keep.
template <typename T>
class Masking {
 public:
  Masking(const Tensor& dense, std::byte* result, const Fold& fold, const BlockMask& mask,
          bool diagonal)
      : from_(dense.bytes().data()),
        to_(result),
        mask_(mask),
        transposed_(fold.transposed),
        diagonal_(diagonal),
        lines_(fold.transposed ? fold.cols : fold.rows),
        length_(fold.transposed ? fold.rows : fold.cols),
        depth_(fold.transposed ? mask.block.cols : mask.block.rows),
        piece_(fold.transposed ? mask.block.rows : mask.block.cols) {}

  size_t strips() const { return mask_.parts * strips_of_part(); }

  void strip(size_t index) const {
    const size_t part = index / strips_of_part(), strip = index % strips_of_part();
    const std::vector<T> keep = bits_to_keep(part, strip);
    const size_t first = strip * depth_, last = std::min(first + depth_, lines_);
    for (size_t line = first; line < last; ++line) {
      const size_t start = (part * lines_ + line) * length_;
      copy_line(from_ + start * sizeof(T), keep, to_ + start * sizeof(T));
      if (diagonal_ && line < length_)
        store_bits(to_, start + line, load_bits<T>(from_, start + line));
    }
  }

 private:
  size_t strips_of_part() const { return ceil_div(lines_, depth_); }

  std::vector<T> bits_to_keep(size_t part, size_t strip) const {
    std::vector<T> keep(length_);
    auto at = keep.begin();
    for (size_t piece = 0; piece < ceil_div(length_, piece_); ++piece) {
      const size_t index =
          transposed_ ? mask_.index(part, piece, strip) : mask_.index(part, strip, piece);
      const auto end = at + static_cast<ptrdiff_t>(std::min<size_t>(piece_, keep.end() - at));
      std::fill(at, end, mask_.kept[index] ? static_cast<T>(~T{0}) : T{0});
      at = end;
    }
    return keep;
  }

  static void copy_line(const std::byte* from, const std::vector<T>& keep, std::byte* to) {
    const T* bits = keep.data();
    for (size_t i = 0, n = keep.size(); i < n; ++i)
      store_bits(to, i, static_cast<T>(load_bits<T>(from, i) & bits[i]));
  }

  const std::byte* from_;
  std::byte* to_;
  const BlockMask& mask_;
  bool transposed_, diagonal_;
  size_t lines_, length_, depth_, piece_;
};

template <typename T>
Tensor masked(const Tensor& dense, const Fold& fold, const BlockMask& mask, bool diagonal,
              ThreadPool& pool) {
  const std::shared_ptr<std::byte> buffer = make_buffer(dense.bytes().size(), Fill::kNone);
  const Masking<T> masking(dense, buffer.get(), fold, mask, diagonal);
  const size_t strips = masking.strips(), tasks = std::min(strips, 16 * pool.threads());
  pool.for_each(tasks, [&](size_t task) {
    for (size_t i = strips * task / tasks; i < strips * (task + 1) / tasks; ++i) masking.strip(i);
  });
  return {dense.dtype(), dense.shape(), {buffer.get(), dense.bytes().size()}, buffer};
}

}  // namespace

Tensor mask_dense(const Tensor& dense, const Fold& fold, const BlockMask& mask, bool diagonal,
                  ThreadPool& pool) {
  ESPALIER_CHECK(dense.count() == fold.count());
  ESPALIER_CHECK(mask.parts == fold.parts && mask.rows == fold.rows && mask.cols == fold.cols);
  switch (bytes_of(dense.dtype())) {
    case 1:
      return masked<uint8_t>(dense, fold, mask, diagonal, pool);
    case 2:
      return masked<uint16_t>(dense, fold, mask, diagonal, pool);
    default:
      ESPALIER_CHECK(bytes_of(dense.dtype()) == 4);
      return masked<uint32_t>(dense, fold, mask, diagonal, pool);
  }
}

}  // namespace espalier
