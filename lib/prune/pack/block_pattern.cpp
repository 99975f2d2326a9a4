#include "lib/prune/pack/block_pattern.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "lib/base/checked_math.h"
#include "lib/sparse/element_bits.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

constexpr uint32_t kLongest = 64;  // side of a block that is looked for

// Calls visit(index, is_zero) for each element, which has_float_bits(), in the order of memory;
// both zeros count.
template <typename Visit>
void for_each_element(const Tensor& dense, const Visit& visit) {
  with_bits_of(dense.dtype(), [&]<typename T>(T) {
    constexpr T kMagnitude = static_cast<T>(~(T{1} << (8 * sizeof(T) - 1)));
    const std::byte* elements = dense.bytes().data();
    for (size_t i = 0; i < dense.count(); ++i)
      visit(i, (load_bits<T>(elements, i) & kMagnitude) == 0);
    return 0;
  });
}

bool has_float_bits(const Tensor& t) {
  return t.dtype() == DType::kF32 || t.dtype() == DType::kF16 || t.dtype() == DType::kBF16;
}

// One bit for each element of one part, 1 where it is zero or not looked at: lines of whole words.
// Lines are rows (along = columns) or columns (along = rows).
struct Bits {
  size_t lines, length, words;
  std::vector<uint64_t> bits;
  Bits(size_t lines, size_t length)
      : lines(lines), length(length), words(ceil_div(length, 64)), bits(lines * words) {}
  void set(size_t line, size_t at) { bits[line * words + at / 64] |= uint64_t{1} << (at % 64); }
  bool get(size_t line, size_t at) const {
    return (bits[line * words + at / 64] >> (at % 64) & 1) != 0;
  }
};

// The zeros of a weight, part by part, seen by rows and by columns.
class Zeros {
 public:
  Zeros(const Tensor& dense, const Fold& fold, bool skip_diagonal) : skip_(skip_diagonal) {
    for (size_t part = 0; part < fold.parts; ++part) {
      rows_.emplace_back(fold.rows, fold.cols);
      columns_.emplace_back(fold.cols, fold.rows);
    }
    const size_t line = fold.transposed ? fold.rows : fold.cols, area = fold.rows * fold.cols;
    size_t part = 0, at = 0, along = 0;
    for_each_element(dense, [&](size_t, bool zero) {
      const size_t r = fold.transposed ? along : at, c = fold.transposed ? at : along;
      const bool skipped = skip_ && r == c;
      if (zero || skipped) {
        rows_[part].set(r, c);
        columns_[part].set(c, r);
      }
      count_ += zero && !skipped ? 1 : 0;
      if (++along == line) {
        along = 0;
        if (++at * line == area) {
          at = 0;
          ++part;
        }
      }
    });
  }

  size_t count() const { return count_; }

  // Zeros inside blocks of R x 1 (1 x C) that are zero altogether.
  size_t in_columns(uint32_t r) const { return in_lines(rows_, r); }
  size_t in_rows(uint32_t c) const { return in_lines(columns_, c); }

  size_t in_blocks(BlockShape block) const {
    if (block.cols == 1) return in_columns(block.rows);
    if (block.rows == 1) return in_rows(block.cols);
    size_t found = 0;
    std::vector<uint64_t> all;
    for (const Bits& part : rows_) {
      for (size_t first = 0; first < part.lines; first += block.rows) {
        const size_t last = std::min<size_t>(first + block.rows, part.lines);
        all_of_lines(part, first, last, all);
        for (size_t c = 0; c < part.length; c += block.cols) {
          const size_t end = std::min<size_t>(c + block.cols, part.length);
          if (!all_set(all, c, end)) continue;
          found += (last - first) * (end - c) - diagonal_in(first, last, c, end);
        }
      }
    }
    return found;
  }

 private:
  size_t diagonal_in(size_t r0, size_t r1, size_t c0, size_t c1) const {
    const size_t from = std::max(r0, c0), to = std::min(r1, c1);
    return skip_ && from < to ? to - from : 0;
  }

  static bool all_set(const std::vector<uint64_t>& bits, size_t from, size_t to) {
    for (; from < to; ++from) {
      if ((bits[from / 64] >> (from % 64) & 1) == 0) return false;
    }
    return true;
  }

  static void all_of_lines(const Bits& part, size_t first, size_t last,
                           std::vector<uint64_t>& all) {
    all.assign(part.words, ~uint64_t{0});
    for (size_t line = first; line < last; ++line) {
      for (size_t w = 0; w < part.words; ++w) all[w] &= part.bits[line * part.words + w];
    }
  }

  size_t in_lines(const std::vector<Bits>& parts, uint32_t group) const {
    size_t found = 0;
    std::vector<uint64_t> all;
    for (const Bits& part : parts) {
      for (size_t first = 0; first < part.lines; first += group) {
        const size_t last = std::min<size_t>(first + group, part.lines);
        all_of_lines(part, first, last, all);
        size_t set = 0;
        for (const uint64_t word : all) set += static_cast<size_t>(std::popcount(word));
        found += set * (last - first);
        // A pattern that stands for a skipped diagonal element holds one zero fewer.
        for (size_t d = first; skip_ && d < std::min(last, part.length); ++d)
          found -= (all[d / 64] >> (d % 64)) & 1;
      }
    }
    return found;
  }

  bool skip_;
  size_t count_ = 0;
  std::vector<Bits> rows_, columns_;  // per part
};

// Blocks of the shape explain the zeros: few lie outside of blocks that are zero altogether, and
// what is kept holds few of them (at 99.5 % zeros chance alone fills small blocks).
class Judge {
 public:
  Judge(size_t zeros, size_t weights) : zeros_(zeros), kept_(weights - zeros) {}
  bool explains(size_t found) const {
    const size_t left = zeros_ - found;
    return left <= zeros_ / 100 && left <= kept_ / 10;
  }

 private:
  size_t zeros_, kept_;
};

// Blocks R x C that explain the zeros are made of R x 1 and of 1 x C blocks that do.
BlockShape largest_pattern(const Zeros& zeros, const Judge& judge, const Fold& fold) {
  std::vector<BlockShape> shapes;
  std::vector<uint32_t> tall{1}, wide{1};
  for (uint32_t r = 2; r <= std::min<size_t>(kLongest, fold.rows); ++r) {
    if (judge.explains(zeros.in_columns(r))) tall.push_back(r);
  }
  for (uint32_t c = 2; c <= std::min<size_t>(kLongest, fold.cols); ++c) {
    if (judge.explains(zeros.in_rows(c))) wide.push_back(c);
  }
  for (const uint32_t r : tall) {
    for (const uint32_t c : wide) shapes.push_back({r, c});
  }
  std::ranges::sort(shapes, [](BlockShape a, BlockShape b) {
    return a.area() != b.area() ? a.area() > b.area() : a.rows > b.rows;
  });
  const auto found = std::ranges::find_if(
      shapes, [&](BlockShape shape) { return judge.explains(zeros.in_blocks(shape)); });
  return found == shapes.end() ? BlockShape{1, 1} : *found;
}

size_t nonzeros(const Tensor& tensor) {
  if (!has_float_bits(tensor)) {
    const std::vector<float> values = to_f32(tensor);
    return values.size() - static_cast<size_t>(std::ranges::count(values, 0.0F));
  }
  size_t count = 0;
  for_each_element(tensor, [&](size_t, bool zero) { count += zero ? 0 : 1; });
  return count;
}

}  // namespace

std::optional<BlockShape> block_pattern(const Weight& weight, const Fold& fold, bool square) {
  if (weight.is_sparse() && weight.sparse().fold == fold) {
    const SparseMatrix& matrix = weight.sparse();
    const size_t grid = fold.parts * matrix.grid_rows() * matrix.grid_cols();
    return matrix.blocks() == grid ? std::nullopt : std::optional(matrix.block);
  }
  const Tensor dense = dense_of(weight);
  if (!has_float_bits(dense)) return std::nullopt;
  const size_t weights = fold.count() - (square ? fold.parts * fold.rows : 0);
  const Zeros zeros(dense, fold, square);
  if (zeros.count() == 0 || zeros.count() < weights / 100) return std::nullopt;
  return largest_pattern(zeros, Judge(zeros.count(), weights), fold);
}

double zero_share(const Weight& weight, const Fold& fold, bool skip_diagonal) {
  const size_t diagonal = skip_diagonal ? fold.parts * fold.rows : 0;
  if (fold.count() == diagonal) return 0;
  const auto share = [&](size_t kept) {
    return 1 - static_cast<double>(kept) / static_cast<double>(fold.count() - diagonal);
  };
  if (weight.is_sparse()) {
    const SparseMatrix& matrix = weight.sparse();
    if (!skip_diagonal) return share(nonzeros(matrix.values) + nonzeros(matrix.diagonal));
    if (matrix.has_diagonal()) return share(nonzeros(matrix.values));
  }
  const Tensor dense = dense_of(weight);
  size_t kept = nonzeros(dense);
  if (!has_float_bits(dense)) return share(kept);
  for (size_t i = 0; i < diagonal; ++i) {
    const size_t at = fold.offset(i / fold.rows, i % fold.rows, i % fold.rows);
    with_bits_of(dense.dtype(), [&]<typename T>(T) {
      if (static_cast<T>(load_bits<T>(dense.bytes().data(), at) << 1) != 0) --kept;
      return 0;
    });
  }
  return share(kept);
}

}  // namespace espalier
