#include "lib/kernels/conv/im2col.h"

#include <doctest/doctest.h>

#include "tests/lib/kernels/conv/conv_case.h"
#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

// Every place of every tile sees through every tap what the definition says, and no place is left
// out or seen twice.
void check_layout(const ConvShape& shape, const Images& of, size_t most) {
  const Im2col layout(shape, of.height, of.width, of.batch, most);
  const size_t rows = shape.output_extent(0, of.height), cols = shape.output_extent(1, of.width);
  const std::vector<float> x = random_values(of.count(shape.channels_in), 1);
  std::vector<float> patches(layout.floats(), NAN);
  std::vector<int> seen(of.batch * rows * cols);
  bool equal = true;
  size_t runs = 0;
  for (size_t t = 0; t < layout.tiles(); ++t) {
    const Tile tile = layout.tile(t);
    std::ranges::fill(patches, NAN);
    layout.fill(tile, x.data(), patches.data());
    for (size_t i = 0; i < tile.images; ++i)
      for (size_t r = 0; r < tile.rows; ++r)
        for (size_t c = 0; c < tile.cols; ++c) {
          const Place place{tile.image + i, tile.row + r, tile.col + c};
          ++seen[(place.image * rows + place.row) * cols + place.col];
          for (size_t input = 0; input < im2col_rows(shape); ++input)
            equal = equal && patches[layout.place(i, r, c) + layout.offset(input)] ==
                                 seen_by(shape, of, x, 0, input, place);
          equal = equal && patches[layout.place(i, r, c) + layout.offset(im2col_rows(shape))] == 0;
        }
    const size_t of_line = ceil_div(tile.cols, layout.run());
    runs += ceil_div(tile.images * tile.rows * of_line, kPanelSamples / layout.run());
  }
  CHECK(equal);
  CHECK(seen == std::vector<int>(seen.size(), 1));
  CHECK(layout.panels() == runs);
}

}  // namespace

TEST_CASE("a tile's patches hold what each output place sees through each tap") {
  for (const ConvShape& shape : kConvShapes) {
    for (const Images& images : kImages) {
      for (const size_t most : {1, 400, 1 << 20}) {
        CAPTURE(&shape - kConvShapes);
        CAPTURE(images.height);
        CAPTURE(images.width);
        CAPTURE(images.batch);
        CAPTURE(most);
        check_layout(shape, images, most);
      }
    }
  }
}

TEST_CASE("tiles hold as much as they may") {
  const ConvShape shape{
      .channels_in = 32, .kernel = {3, 3}, .pad_begin = {1, 1}, .pad_end = {1, 1}};
  for (const size_t side : {16, 100, 3000}) {
    const size_t most = 40000;
    const Im2col layout(shape, side, side, 1, most);
    CHECK(layout.floats() <= most);
    CHECK(layout.tiles() * most < 6 * 32 * side * side + most);
  }
}

TEST_CASE("long gaps between taps take no memory") {
  const size_t far = size_t{1} << 28;
  const ConvShape shape{
      .kernel = {2, 2}, .dilation = {far, far}, .pad_begin = {far, far}, .pad_end = {0, 0}};
  CHECK(Im2col(shape, 9, 9, 1, 1 << 20).floats() < 4000);
}

TEST_CASE("lines are cut into runs that fill panels") {
  const auto layout = [](size_t height, size_t width, size_t batch) {
    return Im2col({}, height, width, batch, 1 << 20);
  };
  CHECK(layout(40, 48, 1).run() == 16);
  CHECK(layout(8, 8, 1).run() == 8);
  CHECK(layout(8, 8, 1).panels() == 4);
  CHECK(layout(4, 4, 1).run() == 4);
  CHECK(layout(4, 4, 1).panels() == 1);
  CHECK(layout(1, 4, 12).panels() == 3);  // images share panels
}

}  // namespace espalier
