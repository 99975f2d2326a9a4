#include "apps/espalier/mask_pictures.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/checked_math.h"
#include "lib/prune/options/layer_rule.h"

namespace espalier {
namespace {

// Share of the blocks of one cell that are kept, as a hexadecimal digit: 0 and f only where none
// and all of them are.
char digit_of(size_t kept, size_t blocks) {
  if (kept == 0) return '0';
  if (kept == blocks) return 'f';
  return "0123456789abcdef"[std::clamp<size_t>(kept * 15 / blocks, 1, 14)];
}

// The mask in cells of `rows` x `cols` blocks, part after part.
std::string cells_of(const BlockMask& mask, size_t rows, size_t cols) {
  std::string cells;
  for (size_t part = 0; part < mask.parts; ++part) {
    for (size_t r = 0; r < mask.grid_rows(); r += rows) {
      for (size_t c = 0; c < mask.grid_cols(); c += cols) {
        size_t kept = 0, blocks = 0;
        for (size_t i = r; i < std::min(r + rows, mask.grid_rows()); ++i) {
          for (size_t k = c; k < std::min(c + cols, mask.grid_cols()); ++k, ++blocks)
            kept += mask.kept[mask.index(part, i, k)] ? 1 : 0;
        }
        cells += digit_of(kept, blocks);
      }
    }
  }
  return cells;
}

// Cells grow, along the side where they are shorter, until no more than `most` are left.
MaskPicture picture_of(const LayerPlan& plan, size_t most) {
  const BlockMask& mask = plan.mask;
  size_t rows = 1, cols = 1;  // blocks of a cell
  const auto cell_count = [&] {
    return mask.parts * ceil_div(mask.grid_rows(), rows) * ceil_div(mask.grid_cols(), cols);
  };
  while (cell_count() > most) {
    const bool wide = mask.block.cols * cols < mask.block.rows * rows;
    (wide && cols < mask.grid_cols() ? cols : rows < mask.grid_rows() ? rows : cols) *= 2;
  }
  MaskPicture picture;
  picture.name = plan.layer.weight;
  picture.rows = mask.parts * ceil_div(mask.grid_rows(), rows);
  picture.cols = ceil_div(mask.grid_cols(), cols);
  picture.cell_rows = static_cast<double>(mask.block.rows * rows);
  picture.cell_cols = static_cast<double>(mask.block.cols * cols);
  picture.parts = mask.parts;
  picture.diagonal = plan.diagonal;
  picture.cells = cells_of(mask, rows, cols);
  picture.about = fmt::format(
      "{}x{} in {}, {:.1f} % of the blocks kept{}", mask.parts * mask.rows, mask.cols,
      plan.nm ? to_string(*plan.nm) : to_string(mask.block),
      100 * static_cast<double>(mask.kept_blocks()) / static_cast<double>(mask.blocks()),
      rows * cols == 1 ? "" : fmt::format("; a cell is {} x {} blocks", rows, cols));
  return picture;
}

}  // namespace

std::vector<MaskPicture> mask_pictures(const PrunePlan& plan) {
  constexpr size_t kAll = size_t{1} << 22, kMost = size_t{1} << 16, kFewest = 1024;
  std::vector<const LayerPlan*> pruned;
  for (const LayerPlan& layer : plan.layers) {
    if (layer.mask.blocks() != 0) pruned.push_back(&layer);
  }
  const size_t most = std::clamp(kAll / std::max<size_t>(1, pruned.size()), kFewest, kMost);
  std::vector<MaskPicture> pictures;
  for (const LayerPlan* layer : pruned) pictures.push_back(picture_of(*layer, most));
  return pictures;
}

}  // namespace espalier
