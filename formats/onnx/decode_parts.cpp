// The tensors of a packed weight as its decode function takes them, and back.
#include <fmt/format.h>

#include <algorithm>

#include "formats/onnx/decode_function.h"
#include "formats/onnx/sparse_tensor.h"
#include "lib/base/checked_math.h"
#include "lib/sparse/block_index.h"
#include "lib/sparse/pack_rules.h"

namespace espalier {
namespace {

Tensor integers(const std::vector<int64_t>& values) {
  return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values);
}

const Shape kOne{1, 1, 1};

int64_t as_i64(size_t value) { return static_cast<int64_t>(value); }

// Extents of all parts before they are cut.
struct Padded {
  size_t rows, cols;
  explicit Padded(const SparseMatrix& m)
      : rows(m.grid_rows() * m.block.rows), cols(m.grid_cols() * m.block.cols) {}
};

// Calls visit(block, block row, block column).
template <typename Visit>
void for_each_block(const SparseMatrix& matrix, const Visit& visit) {
  const std::vector<uint32_t>&row_start = matrix.row_start, &cols = matrix.col;
  for (size_t row = 0; row + 1 < row_start.size(); ++row) {
    for (size_t b = row_start[row]; b < row_start[row + 1]; ++b) visit(b, row, cols[b]);
  }
}

template <typename T>
Tensor grid_index(const SparseMatrix& matrix) {
  Tensor index = Tensor::zeros(dtype_of<T>(), {as_i64(matrix.blocks()), 2});
  auto data = index.mutable_data<T>();
  for_each_block(matrix, [&](size_t block, size_t row, size_t col) {
    data[2 * block] = static_cast<T>(row);
    data[2 * block + 1] = static_cast<T>(col);
  });
  return index;
}

template <typename T>
Tensor element_index(const SparseMatrix& matrix) {
  const Padded padded(matrix);
  Tensor index = Tensor::zeros(dtype_of<T>(), {as_i64(matrix.blocks()), 1, 1, 1});
  auto data = index.mutable_data<T>();
  for_each_block(matrix, [&](size_t block, size_t row, size_t col) {
    data[block] = static_cast<T>(row * matrix.block.rows * padded.cols + col * matrix.block.cols);
  });
  return index;
}

constexpr size_t kByteBits = 8;

// One byte for eight blocks of the grid, the first in the highest bit.
Tensor bitmap_of(const SparseMatrix& matrix) {
  Tensor bitmap = Tensor::zeros(DType::kU8, {as_i64(ceil_div(grid_blocks(matrix), kByteBits))});
  auto data = bitmap.mutable_data<uint8_t>();
  for_each_block(matrix, [&](size_t /*block*/, size_t row, size_t col) {
    const size_t at = row * matrix.grid_cols() + col;
    data[at / kByteBits] |= static_cast<uint8_t>(0x80 >> at % kByteBits);
  });
  return bitmap;
}

Tensor index_of(const SparseMatrix& matrix, const DecodeForm& form) {
  if (form.bitmap) return bitmap_of(matrix);
  if (!form.first_element) {
    const bool narrow = index_bytes(matrix.fold, matrix.block) == 2 * sizeof(uint16_t);
    return narrow ? grid_index<uint16_t>(matrix) : grid_index<uint32_t>(matrix);
  }
  const Padded padded(matrix);
  const size_t count = matrix.fold.parts * padded.rows * padded.cols;
  if (count <= size_t{1} << 16) return element_index<uint16_t>(matrix);
  if (count <= size_t{1} << 32) return element_index<uint32_t>(matrix);
  return element_index<int64_t>(matrix);
}

// Distance of each element of a block from the block's first.
Tensor within_block(BlockShape block, size_t padded_cols) {
  Tensor within = Tensor::zeros(DType::kI64, {block.rows, block.cols, 1});
  auto data = within.mutable_data<int64_t>();
  for (size_t i = 0; i < data.size(); ++i)
    data[i] = as_i64(i / block.cols * padded_cols + i % block.cols);
  return within;
}

template <typename... Args>
void require(bool holds, fmt::format_string<Args...> text, Args&&... args) {
  if (!holds) throw Error(Fault::kFormat, fmt::format(text, std::forward<Args>(args)...));
}

class MatrixReader {
 public:
  MatrixReader(const DecodeForm& form, const DecodeParts& parts) : form_(form), parts_(parts) {}

  SparseMatrix read() {
    read_block();
    read_shape();
    if (form_.stacked()) read_padded();
    if (!form_.first_element && !form_.elements) read_grid();
    if (form_.elements) read_elements();
    read_extent();
    check_volume();
    if (form_.first_element) {
      read_element_index();
    } else if (form_.bitmap) {
      read_bitmap();
    } else {
      read_grid_index();
    }
    if (form_.scaled()) read_scale();
    if (form_.diagonal) read_diagonal();
    validate(m_);
    return std::move(m_);
  }

 private:
  const Tensor& part(const std::string& name) const { return parts_.at(name); }

  // `count` integers from 1 to 2^40: products of four cannot be trusted, but of two.
  std::vector<size_t> extents(const std::string& name, size_t count) const {
    const Tensor& tensor = part(name);
    require(tensor.dtype() == DType::kI64 && tensor.shape() == Shape{as_i64(count)},
            "{} is {} of shape {}, expected i64 of shape [{}]", name, name_of(tensor.dtype()),
            to_string(tensor.shape()), count);
    std::vector<size_t> result;
    for (const int64_t value : to_i64(tensor)) {
      require(value >= 1 && value <= int64_t{1} << 40, "{} holds {}, expected 1 to 2^40", name,
              value);
      result.push_back(static_cast<size_t>(value));
    }
    return result;
  }

  void read_block() {
    const Tensor& values = part("values");
    require(values.dtype() == form_.values, "values are {}, expected {}", name_of(values.dtype()),
            name_of(form_.values));
    const Shape& shape = values.shape();
    require(shape.size() == 3 && shape[1] >= 1 && shape[2] >= 1 && shape[1] < 1 << 16 &&
                shape[2] < 1 << 16 && shape[0] <= UINT32_MAX,
            "values have shape {}, expected [blocks, rows, columns]", to_string(shape));
    m_.values = values;
    m_.dtype = form_.weight;
    m_.diagonal = Tensor::zeros(form_.diagonal_type(), {0});
    m_.block = {static_cast<uint32_t>(shape[1]), static_cast<uint32_t>(shape[2])};
  }

  void read_shape() {
    const Tensor& shape = part("shape");
    require(shape.dtype() == DType::kI64 && shape.shape().size() == 1 && shape.count() <= 64,
            "shape is {} of shape {}, expected a list of i64", name_of(shape.dtype()),
            to_string(shape.shape()));
    m_.shape = to_i64(shape);
    check_expansion(m_.values.byte_size() + part(form_.bitmap ? "bitmap" : "index").byte_size(),
                    byte_count(m_.dtype, m_.shape));
  }

  void read_padded() {
    const auto padded = extents("padded", 3);
    m_.fold.parts = padded[0];
    rows_ = padded[1], cols_ = padded[2];
    require(rows_ % m_.block.rows == 0 && cols_ % m_.block.cols == 0,
            "padded matrices are [{}, {}], expected whole blocks of {}", rows_, cols_,
            to_string(m_.block));
  }

  // [block rows, block columns, 1, block's columns], or as the weight is stored.
  void read_lines_grid() {
    const auto grid = extents("grid", 4);
    const uint32_t rows = m_.block.rows, cols = m_.block.cols;
    const uint32_t lines = form_.transposed ? cols : rows, length = form_.transposed ? rows : cols;
    const size_t along = form_.transposed ? 3 : 2;
    require(form_.lines == lines, "values are blocks {}, expected {} lines", to_string(m_.block),
            form_.lines);
    require(grid[along] == 1 && grid[5 - along] == length,
            "grid is of lines {}x{}, values are blocks {}", grid[2], grid[3], to_string(m_.block));
    m_.fold.parts = 1;
    rows_ = grid[form_.transposed ? 1 : 0] * rows;
    cols_ = grid[form_.transposed ? 0 : 1] * cols;
  }

  // The matrix of elements: of whole parts where these are stacked, else the weight itself.
  void read_elements() {
    require(m_.block == BlockShape{1, 1}, "values are blocks {}, expected 1x1",
            to_string(m_.block));
    if (form_.stacked()) return;
    require(m_.shape.size() == 2 && m_.shape[0] >= 1 && m_.shape[1] >= 1,
            "shape is {}, expected a matrix", to_string(m_.shape));
    m_.fold.parts = 1;
    rows_ = static_cast<size_t>(m_.shape[0]), cols_ = static_cast<size_t>(m_.shape[1]);
  }

  void read_grid() {
    if (form_.lines != 0 && !form_.bitmap) return read_lines_grid();
    const auto grid = extents("grid", 4);
    require(grid[2] == m_.block.rows && grid[3] == m_.block.cols,
            "grid is of blocks {}x{}, values are blocks {}", grid[2], grid[3], to_string(m_.block));
    require(form_.lines == 0 || (form_.transposed ? m_.block.cols : m_.block.rows) == 1,
            "values are blocks {}, expected one line", to_string(m_.block));
    if (!form_.stacked()) {
      m_.fold.parts = 1;
      rows_ = grid[0] * m_.block.rows, cols_ = grid[1] * m_.block.cols;
    }
    const auto block_rows = checked_mul(m_.fold.parts, rows_ / m_.block.rows);
    require(block_rows && grid[0] == *block_rows && grid[1] == cols_ / m_.block.cols,
            "grid is {} x {} blocks, expected {} x {}", grid[0], grid[1], block_rows.value_or(0),
            cols_ / m_.block.cols);
  }

  void read_extent() {
    m_.fold.rows = rows_, m_.fold.cols = cols_;
    m_.fold.transposed = form_.transposed;
    if (!form_.ragged && !form_.diagonal) return;
    const auto extent = extents("extent", 2);
    const bool fits = form_.ragged ? round_up(extent[0], m_.block.rows) == rows_ &&
                                         round_up(extent[1], m_.block.cols) == cols_
                                   : extent[0] == rows_ && extent[1] == cols_;
    require(fits, "extent is [{}, {}], padded to blocks [{}, {}]", extent[0], extent[1], rows_,
            cols_);
    m_.fold.rows = extent[0], m_.fold.cols = extent[1];
  }

  void check_volume() {
    const auto volume = (Checked<size_t>(m_.fold.rows) * m_.fold.cols * m_.fold.parts).value();
    require(volume && *volume == element_count(m_.shape),
            "{} matrices [{}, {}] do not fill the shape {}", m_.fold.parts, m_.fold.rows,
            m_.fold.cols, to_string(m_.shape));
  }

  std::vector<int64_t> index(const Shape& wanted) const {
    const Tensor& tensor = part("index");
    require(tensor.shape() == wanted, "index has shape {}, expected {}", to_string(tensor.shape()),
            to_string(wanted));
    try {
      return to_i64(tensor);
    } catch (Error& error) {
      error.add_context("index");
      throw;
    }
  }

  void read_grid_index() {
    const auto blocks = static_cast<size_t>(m_.values.shape()[0]);
    const std::vector<int64_t> pairs = index({as_i64(blocks), 2});
    BlockIndex places(m_);
    for (size_t b = 0; b < blocks; ++b) places.add(pairs[2 * b], pairs[2 * b + 1]);
    places.finish();
  }

  // The grid has no more blocks than the weight has elements, as check_volume() saw.
  void read_bitmap() {
    const size_t grid = grid_blocks(m_);
    const Tensor& bitmap = part("bitmap");
    const Shape wanted{as_i64(ceil_div(grid, kByteBits))};
    require(bitmap.dtype() == DType::kU8 && bitmap.shape() == wanted,
            "bitmap is {} of shape {}, expected u8 of shape {} for a grid of {} blocks",
            name_of(bitmap.dtype()), to_string(bitmap.shape()), to_string(wanted), grid);
    if (form_.cut) {
      const auto count = extents("count", 1);
      require(count[0] == grid, "count is {}, the grid has {} blocks", count[0], grid);
    } else {
      require(grid % kByteBits == 0, "the grid has {} blocks, expected whole bytes", grid);
    }
    BlockIndex places(m_);
    places.add(bitmap.bytes(), static_cast<size_t>(m_.values.shape()[0]));
    places.finish();
  }

  void read_element_index() {
    const auto blocks = static_cast<size_t>(m_.values.shape()[0]);
    require(same_bits(part("within"), within_block(m_.block, cols_)),
            "within is not that of blocks {} in {} columns", to_string(m_.block), cols_);
    const auto count = extents("count", 1);
    require(count[0] == m_.fold.parts * rows_ * cols_, "count is {}, expected {}", count[0],
            m_.fold.parts * rows_ * cols_);
    BlockIndex places(m_);
    const std::vector<int64_t> firsts = index({as_i64(blocks), 1, 1, 1});
    for (size_t b = 0; b < blocks; ++b) {
      require(firsts[b] >= 0, "block {} starts at element {}", b, firsts[b]);
      const auto at = static_cast<size_t>(firsts[b]);
      const size_t row = at / cols_, col = at % cols_;
      if (row % m_.block.rows != 0 || col % m_.block.cols != 0) {
        throw Error(
            Fault::kUnsupported,
            fmt::format("block {} starts at row {}, column {}, which is not on the grid of {}", b,
                        row, col, to_string(m_.block)));
      }
      places.add(as_i64(row / m_.block.rows), as_i64(col / m_.block.cols));
    }
    places.finish();
  }

  // One for all outputs, or one each.
  void read_scale() {
    const Tensor& scale = part("scale");
    const size_t outputs = m_.fold.parts * m_.fold.rows;
    const Shape wanted{as_i64(m_.fold.parts), as_i64(m_.fold.rows), 1};
    require(scale.dtype() == DType::kF32 && (scale.shape() == wanted || scale.shape() == kOne),
            "scale is {} of shape {}, expected f32 of shape {} or [1, 1, 1]",
            name_of(scale.dtype()), to_string(scale.shape()), to_string(wanted));
    m_.scale =
        scale.count() == outputs
            ? scale.reshaped({as_i64(outputs)})
            : Tensor::of<float>({as_i64(outputs)}, std::vector<float>(outputs, to_f32(scale)[0]));
  }

  void read_diagonal() {
    const Tensor& diagonal = part("diagonal");
    const Shape wanted{as_i64(m_.fold.parts), as_i64(m_.fold.rows), 1};
    require(diagonal.shape() == wanted, "diagonal has shape {}, expected {}",
            to_string(diagonal.shape()), to_string(wanted));
    m_.diagonal = diagonal.reshaped({as_i64(diagonal.count())});
  }

  const DecodeForm& form_;
  const DecodeParts& parts_;
  SparseMatrix m_;
  size_t rows_ = 0, cols_ = 0;  // of one part, padded to whole blocks
};

constexpr size_t kWorthDeferring = size_t{1} << 16;  // blocks

Tensor deferred_index(const SparseMatrix& matrix, const DecodeForm& form) {
  if (matrix.blocks() < kWorthDeferring) return index_of(matrix, form);
  const auto made = [matrix, form] {
    Tensor index = index_of(matrix, form);
    matrix.row_start.give_back();
    matrix.col.give_back();
    return index;
  };
  const Tensor once = made();
  return Tensor::deferred(once.dtype(), once.shape(), made);
}

Tensor grid_of(const SparseMatrix& matrix, const DecodeForm& form) {
  const int64_t rows = as_i64(matrix.fold.parts * matrix.grid_rows());
  const int64_t cols = as_i64(matrix.grid_cols());
  const BlockShape block = matrix.block;
  if (form.lines == 0 || form.bitmap) return integers({rows, cols, block.rows, block.cols});
  if (form.transposed) return integers({cols, rows, block.rows, 1});
  return integers({rows, cols, 1, block.cols});
}

}  // namespace

DecodeParts decode_parts(const SparseMatrix& matrix, const DecodeForm& form) {
  const Padded padded(matrix);
  const Fold& fold = matrix.fold;
  DecodeParts parts;
  parts["values"] = matrix.values;
  parts[form.bitmap ? "bitmap" : "index"] = deferred_index(matrix, form);
  if (form.first_element) {
    parts["within"] = within_block(matrix.block, padded.cols);
    parts["count"] = integers({as_i64(fold.parts * padded.rows * padded.cols)});
  } else {
    if (form.cut) parts["count"] = integers({as_i64(grid_blocks(matrix))});
    if (!form.elements) parts["grid"] = grid_of(matrix, form);
  }
  if (form.stacked())
    parts["padded"] = integers({as_i64(fold.parts), as_i64(padded.rows), as_i64(padded.cols)});
  if (form.ragged || form.diagonal)
    parts["extent"] = integers({as_i64(fold.rows), as_i64(fold.cols)});
  if (form.scaled())
    parts["scale"] = matrix.scale.reshaped({as_i64(fold.parts), as_i64(fold.rows), 1});
  if (form.diagonal)
    parts["diagonal"] = matrix.diagonal.reshaped({as_i64(fold.parts), as_i64(fold.rows), 1});
  parts["shape"] = integers(matrix.shape);
  return parts;
}

SparseMatrix matrix_from_parts(const DecodeForm& form, const DecodeParts& parts) {
  SparseMatrix matrix = MatrixReader(form, parts).read();
  if (matrix.blocks() < kWorthDeferring) return matrix;
  // The values stay where the file has them; the index is read again when it is looked at.
  const SparseMatrix index = deferred(matrix, [form, parts] {
    SparseMatrix again = MatrixReader(form, parts).read();
    for (const auto& [name, part] : parts) part.give_back();
    return again;
  });
  matrix.row_start = index.row_start;
  matrix.col = index.col;
  for (const auto& [name, part] : parts) part.give_back();
  return matrix;
}

}  // namespace espalier
