#pragma once

#include <cstdint>
#include <vector>

#include "lib/kernels/conv/conv_shape.h"
#include "lib/kernels/product.h"

namespace espalier {

/// Inputs of one group's filter, and output places of one image: the extents of im2col's matrix.
inline size_t im2col_rows(const ConvShape& shape) {
  return shape.channels_in / shape.groups * shape.kernel[0] * shape.kernel[1];
}
inline size_t im2col_columns(const ConvShape& shape, size_t height, size_t width) {
  return shape.output_extent(0, height) * shape.output_extent(1, width);
}

/// Whether im2col would copy the image as it is: 1x1 windows, no stride, no padding.
bool im2col_is_identity(const ConvShape& shape);

/// Output places of a tile: rows x cols of each of `images` images, from (row, col) of `image` on.
struct Tile {
  size_t image, images, row, rows, col, cols;
};

/// How the inputs of a tile of output places lie in memory: a patch of each channel with its pads
/// around it. What a tap sees of neighbouring places lies together, at a distance from the place
/// that is the same for all places. Along an axis where windows overlap they share what they see;
/// with a stride s, each s-th input lies together. Where windows leave gaps (dilation) that are
/// wider than the tile, each tap has a copy of its own.
class Im2col {
 public:
  /// Tiles of at most `most` floats where that is possible: whole images, else whole lines, else
  /// pieces of lines. `batch` is how many images there are, each [channels_in, height, width].
  Im2col(const ConvShape& shape, size_t height, size_t width, size_t batch, size_t most);

  /// Lines of places are cut into runs of 16, 8 or 4 places: whatever fills panels best.
  size_t run() const { return run_; }
  /// Panels of 16 samples that the runs of all tiles fill.
  size_t panels() const { return panels_; }
  size_t tiles() const { return tiles_; }
  Tile tile(size_t number) const;

  size_t floats() const;  ///< of a tile's patches
  size_t lines() const;   ///< of the patches of all tiles, of any length
  /// Where input `i` of the filter lies behind a place, up to im2col_rows. Inputs behind the last
  /// are zeros.
  size_t offset(size_t input) const;
  /// Where a place lies in the patches: counted from the tile's first image, row and column.
  size_t place(size_t image, size_t row, size_t col) const {
    return image * image_floats_ + row * pitch_ + col;
  }

  /// Writes the patches of a tile. `images` is the group's first channel of the first image.
  void fill(const Tile& tile, const float* images, float* patches) const;

 private:
  // An axis of a patch: stretches of inputs `stride` apart, one behind the other.
  struct Axis {
    size_t inputs = 0, stride = 1, pad = 0, part = 0;  // part: length of a stretch
    std::vector<size_t> starts{};                      // first input of each stretch, pads counted
    std::vector<size_t> taps{};                        // where each tap's inputs begin
    size_t extent() const { return starts.size() * part; }
  };
  static Axis axis(const ConvShape& shape, size_t which, size_t inputs, size_t places);
  void cut(size_t images, size_t rows, size_t cols);

  ConvShape shape_;
  size_t height_, width_, batch_, rows_, cols_;
  size_t run_ = kPanelSamples, panels_ = 0, tiles_ = 0;
  size_t tile_images_ = 1, tile_rows_ = 1, tile_cols_ = 1;
  Axis y_{}, x_{};
  size_t pitch_ = 0, image_floats_ = 0, channel_floats_ = 0;
};

}  // namespace espalier
