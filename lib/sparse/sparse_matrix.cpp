#include "lib/sparse/sparse_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>

#include "lib/base/checked_math.h"
#include "lib/base/error.h"
#include "lib/sparse/pack_rules.h"

namespace espalier {
namespace {

template <typename... Args>
void require(bool holds, fmt::format_string<Args...> text, Args&&... args) {
  if (!holds) throw Error(Fault::kFormat, fmt::format(text, std::forward<Args>(args)...));
}

// Bits of element `index`, without the sign: 0 where the element is a zero of either sign.
uint32_t magnitude_bits(const Tensor& tensor, size_t index) {
  const std::byte* from = tensor.bytes().data();
  if (bytes_of(tensor.dtype()) == 1) return std::to_integer<uint32_t>(from[index]);
  if (bytes_of(tensor.dtype()) == 4) {
    uint32_t bits;
    std::memcpy(&bits, from + 4 * index, 4);
    return bits << 1;
  }
  uint16_t bits;
  std::memcpy(&bits, from + 2 * index, 2);
  return static_cast<uint16_t>(bits << 1);
}

void validate_fold(const SparseMatrix& m) {
  require(m.block.rows >= 1 && m.block.cols >= 1, "block is {}, expected at least 1x1",
          to_string(m.block));
  require(checked_mul<size_t>(m.block.rows, m.block.cols).has_value(), "block {} is too large",
          to_string(m.block));
  const auto count = (Checked<size_t>(m.fold.rows) * m.fold.cols * m.fold.parts).value();
  require(count && *count == element_count(m.shape),
          "weight of shape {} does not fold to {} matrices [{}, {}]", to_string(m.shape),
          m.fold.parts, m.fold.rows, m.fold.cols);
  require(can_be_packed(m.dtype), "packed weight is {}, expected f32, f16 or bf16",
          name_of(m.dtype));
  require(can_be_values(m.values.dtype()),
          "values of a packed weight are {}, expected f32, f16, bf16 or i8",
          name_of(m.values.dtype()));
}

// Block rows and columns of the grid; ascending without duplicates.
void validate_index(const SparseMatrix& m) {
  const std::vector<uint32_t>&row_start = m.row_start, &col = m.col;
  const auto block_rows = checked_mul(m.fold.parts, m.grid_rows());
  require(block_rows && row_start.size() == *block_rows + 1,
          "packed weight has {} row starts, expected one more than its {} block rows",
          row_start.size(), block_rows.value_or(0));
  require(row_start.front() == 0 && row_start.back() == col.size(),
          "row starts run from {} to {}, expected 0 to {} (the number of blocks)",
          row_start.front(), row_start.back(), col.size());
  const auto descent = std::ranges::adjacent_find(row_start, std::greater<>());
  require(descent == row_start.end(), "row starts descend at block row {}",
          descent - row_start.begin());
  for (size_t row = 0; row + 1 < row_start.size(); ++row) {
    for (size_t b = row_start[row]; b < row_start[row + 1]; ++b) {
      require(col[b] < m.grid_cols(), "block {} is in block column {}, the grid has {}", b, col[b],
              m.grid_cols());
      require(b == row_start[row] || col[b - 1] < col[b],
              "block {} is in block column {} of block row {} after block column {}, expected "
              "ascending columns",
              b, col[b], row, col[b - (b == 0 ? 0 : 1)]);
    }
  }
}

void validate_values(const SparseMatrix& m) {
  const Shape wanted{static_cast<int64_t>(m.blocks()), m.block.rows, m.block.cols};
  require(m.values.shape() == wanted, "values have shape {}, expected {}",
          to_string(m.values.shape()), to_string(wanted));
}

void validate_scale(const SparseMatrix& m) {
  if (m.values.dtype() != DType::kI8) {
    require(m.scale.count() == 0, "a scale is given for values of type {}, expected i8",
            name_of(m.values.dtype()));
    return;
  }
  const Shape wanted{static_cast<int64_t>(m.fold.parts * m.fold.rows)};
  require(m.scale.dtype() == DType::kF32 && m.scale.shape() == wanted,
          "scale of i8 values is {} of shape {}, expected f32 of shape {}",
          name_of(m.scale.dtype()), to_string(m.scale.shape()), to_string(wanted));
  for (const float scale : to_f32(m.scale))
    require(scale >= 0 && std::isfinite(scale),
            "scale holds {}, expected a finite number, 0 or more", scale);
}

// Only the last block of a block row and the last block row of a part can stick out.
void validate_padding(const SparseMatrix& m) {
  const size_t inside_cols = m.fold.cols - (m.grid_cols() - 1) * m.block.cols;
  const size_t inside_rows = m.fold.rows - (m.grid_rows() - 1) * m.block.rows;
  if (inside_cols == m.block.cols && inside_rows == m.block.rows) return;
  const std::vector<uint32_t>&row_start = m.row_start, &col = m.col;
  for (size_t row = 0; row + 1 < row_start.size(); ++row) {
    const bool last_row = row % m.grid_rows() + 1 == m.grid_rows();
    const size_t rows = last_row ? inside_rows : m.block.rows;
    for (size_t b = row_start[row]; b < row_start[row + 1]; ++b) {
      const size_t cols = col[b] + 1 == m.grid_cols() ? inside_cols : m.block.cols;
      if (rows == m.block.rows && cols == m.block.cols) continue;
      for (size_t i = 0; i < m.block.area(); ++i) {
        const bool inside = i / m.block.cols < rows && i % m.block.cols < cols;
        require(inside || magnitude_bits(m.values, b * m.block.area() + i) == 0,
                "block {} has a nonzero element outside of the weight", b);
      }
    }
  }
}

void validate_diagonal(const SparseMatrix& m) {
  if (!m.has_diagonal()) return;
  require(m.fold.rows == m.fold.cols,
          "a diagonal is stored separately from matrices [{}, {}], expected square matrices",
          m.fold.rows, m.fold.cols);
  const Shape wanted{static_cast<int64_t>(m.fold.parts * m.fold.rows)};
  const DType dtype = m.values.dtype() == DType::kI8 ? m.dtype : m.values.dtype();
  require(m.diagonal.shape() == wanted && m.diagonal.dtype() == dtype,
          "diagonal is {} of shape {}, expected {} of shape {}", name_of(m.diagonal.dtype()),
          to_string(m.diagonal.shape()), name_of(dtype), to_string(wanted));
  for (size_t part = 0; part < m.fold.parts; ++part) {
    for (size_t r = 0; r < m.fold.rows; ++r) {
      const auto place = place_of_diagonal(m, part, r);
      require(!place || magnitude_bits(m.values, *place) == 0,
              "a block contains element {} of the diagonal, which is stored separately", r);
    }
  }
}

// What makes the parts of a deferred matrix: once for all that are held at a time.
class MatrixSource {
 public:
  explicit MatrixSource(std::function<SparseMatrix()> make) : make_(std::move(make)) {}

  std::shared_ptr<const SparseMatrix> get() {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<const SparseMatrix> matrix = made_.lock();
    if (!matrix) made_ = matrix = std::make_shared<const SparseMatrix>(held(make_()));
    return matrix;
  }

 private:
  const std::function<SparseMatrix()> make_;
  std::mutex mutex_;
  std::weak_ptr<const SparseMatrix> made_;
};

}  // namespace

bool can_be_packed(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

bool can_be_values(DType dtype) { return can_be_packed(dtype) || dtype == DType::kI8; }

size_t index_bytes(const Fold& fold, BlockShape block) {
  constexpr size_t kU16Places = 65536;
  const bool narrow = fold.parts * ceil_div(fold.rows, block.rows) <= kU16Places &&
                      ceil_div(fold.cols, block.cols) <= kU16Places;
  return 2 * (narrow ? sizeof(uint16_t) : sizeof(uint32_t));
}

size_t grid_blocks(const Fold& fold, BlockShape block) {
  return fold.parts * ceil_div(fold.rows, block.rows) * ceil_div(fold.cols, block.cols);
}

size_t grid_blocks(const SparseMatrix& matrix) { return grid_blocks(matrix.fold, matrix.block); }

namespace {

StoredBlocks stored_of(const SparseMatrix& matrix) {
  return {matrix.fold, matrix.block, matrix.blocks(), matrix.values.dtype(), matrix.dtype};
}

size_t bytes_without_index(const SparseMatrix& matrix) {
  return matrix.values.byte_size() + matrix.scale.byte_size() + matrix.diagonal.byte_size();
}

}  // namespace

bool takes_bitmap(const StoredBlocks& stored) {
  constexpr size_t kMostBlocks = size_t{1} << 30;  // readers count in 32 bits
  constexpr size_t kLarge = 8;                     // pairs
  const size_t pair = index_bytes(stored.fold, stored.block), area = stored.block.area();
  if (area > 64 || stored.kept >= kMostBlocks ||
      ceil_div(grid_blocks(stored.fold, stored.block), 8) + kLongerDecode > stored.kept * pair)
    return false;
  const size_t block = area * bytes_of(stored.values);
  return block < kLarge * pair ||
         stored.kept * (block + pair) >= stored.fold.count() * bytes_of(stored.weight);
}

bool takes_bitmap(const SparseMatrix& matrix) { return takes_bitmap(stored_of(matrix)); }

size_t index_bytes(const StoredBlocks& stored) {
  return takes_bitmap(stored) ? ceil_div(grid_blocks(stored.fold, stored.block), 8)
                              : stored.kept * index_bytes(stored.fold, stored.block);
}

size_t index_bytes_in_file(const StoredBlocks& stored) {
  return index_bytes(stored) + (takes_bitmap(stored) ? kLongerDecode : 0);
}

std::optional<size_t> place_of_diagonal(const SparseMatrix& m, size_t part, size_t r) {
  const size_t row = part * m.grid_rows() + r / m.block.rows;
  const uint32_t* const first = m.col.begin() + m.row_start[row];
  const uint32_t* const last = m.col.begin() + m.row_start[row + 1];
  const auto found = std::lower_bound(first, last, r / m.block.cols);
  if (found == last || *found != r / m.block.cols) return std::nullopt;
  const auto block = static_cast<size_t>(found - m.col.begin());
  return block * m.block.area() + r % m.block.rows * m.block.cols + r % m.block.cols;
}

double density(const SparseMatrix& matrix) {
  if (matrix.fold.count() == 0) return 0;
  return static_cast<double>(matrix.values.count()) / static_cast<double>(matrix.fold.count());
}

bool is_smaller_with(const SparseMatrix& matrix, size_t index) {
  return bytes_without_index(matrix) + matrix.blocks() * index <
         byte_count(matrix.dtype, matrix.shape);
}

size_t packed_bytes(const SparseMatrix& matrix) {
  return bytes_without_index(matrix) + index_bytes(stored_of(matrix));
}

void SparseMatrix::give_back() const {
  row_start.give_back();
  col.give_back();
  for (const Tensor* part : {&values, &scale, &diagonal}) part->give_back();
}

bool SparseMatrix::is_deferred() const {
  return row_start.is_deferred() || col.is_deferred() || values.is_deferred() ||
         scale.is_deferred() || diagonal.is_deferred();
}

SparseMatrix deferred(const SparseMatrix& made, std::function<SparseMatrix()> make) {
  const auto source = std::make_shared<MatrixSource>(std::move(make));
  const auto indices = [&](Indices SparseMatrix::*part) {
    return Indices::deferred((made.*part).size(), [source, part] {
      const auto matrix = source->get();
      return Indices::Made(matrix, &((*matrix).*part).vector());
    });
  };
  const auto tensor = [&](Tensor SparseMatrix::*part) {
    if ((made.*part).count() == 0) return made.*part;
    return Tensor::deferred((made.*part).dtype(), (made.*part).shape(), [source, part] {
      const auto matrix = source->get();
      const Tensor& one = (*matrix).*part;
      return Tensor(one.dtype(), one.shape(), one.bytes(), matrix);
    });
  };
  SparseMatrix result = made;
  result.row_start = indices(&SparseMatrix::row_start);
  result.col = indices(&SparseMatrix::col);
  result.values = tensor(&SparseMatrix::values);
  result.scale = tensor(&SparseMatrix::scale);
  result.diagonal = tensor(&SparseMatrix::diagonal);
  return result;
}

SparseMatrix held(const SparseMatrix& matrix) {
  SparseMatrix result = matrix;
  if (!matrix.is_deferred()) return result;
  result.row_start.own();
  result.col.own();
  for (Tensor* part : {&result.values, &result.scale, &result.diagonal}) *part = part->held();
  return result;
}

void validate(const SparseMatrix& matrix) {
  validate_fold(matrix);
  validate_index(matrix);
  validate_values(matrix);
  validate_scale(matrix);
  if (matrix.blocks() == 0 && !matrix.has_diagonal()) return;
  if (matrix.blocks() != 0) validate_padding(matrix);
  validate_diagonal(matrix);
}

}  // namespace espalier
