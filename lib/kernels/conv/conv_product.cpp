#include "lib/kernels/conv/conv_product.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <span>
#include <utility>

#include "lib/base/checked_math.h"
#include "lib/kernels/split_rows.h"

namespace espalier {
namespace {

constexpr size_t kTileFloats = size_t{128} << 10;  // half of the second cache
// Weights that stay in it beside a tile; larger ones are taken in strips while all panels pass.
constexpr size_t kKeptBytes = size_t{512} << 10;
constexpr size_t kMostColumns = 64;  // a panel of the kernel for every shape
// Panels may be filled half: then columns are cheaper to copy than empty places to multiply.
constexpr size_t kWorthCopying = 2;

template <size_t kCount>
void copy_rows(const float* from, size_t rows, size_t from_stride, float* to, size_t to_stride) {
  for (size_t r = 0; r < rows; ++r)
    std::memcpy(to + r * to_stride, from + r * from_stride, kCount * sizeof(float));
}

// A few places of each output.
void copy_out(const float* from, size_t rows, size_t from_stride, size_t count, float* to,
              size_t to_stride) {
  if (count == 16) return copy_rows<16>(from, rows, from_stride, to, to_stride);
  if (count == 8) return copy_rows<8>(from, rows, from_stride, to, to_stride);
  if (count == 4) return copy_rows<4>(from, rows, from_stride, to, to_stride);
  for (size_t r = 0; r < rows; ++r)
    for (size_t i = 0; i < count; ++i) to[r * to_stride + i] = from[r * from_stride + i];
}

// One row of columns, front to back: what a run copies beyond its places is overwritten by the
// next. Gives the end.
template <size_t kRun>
float* copy_runs(const float* input, const auto& runs, float* to) {
  for (const auto& run : runs) {
    std::memcpy(to, input + run.from, kRun * sizeof(float));
    to += run.count;
  }
  return to;
}

float* copy_runs(size_t length, const float* input, const auto& runs, float* to) {
  if (length == 16) return copy_runs<16>(input, runs, to);
  if (length == 8) return copy_runs<8>(input, runs, to);
  return copy_runs<4>(input, runs, to);
}

// How a convolution is laid out: where the kernel can read it so and panels are full enough, in
// tiles that are multiplied where they lie, else in halves beside columns that are copied.
struct Layout {
  Im2col tiles;
  bool in_place;
};

Layout layout_of(const ConvShape& shape, size_t height, size_t width, size_t batch,
                 bool kernel_reads_in_place) {
  Im2col whole(shape, height, width, batch, kTileFloats);
  const size_t places = batch * im2col_columns(shape, height, width);
  if (kernel_reads_in_place && whole.panels() * kPanelSamples <= kWorthCopying * places &&
      whole.floats() <= UINT32_MAX)
    return {std::move(whole), true};
  return {Im2col(shape, height, width, batch, kTileFloats / 2), false};
}

size_t columns_at_once(const ConvShape& shape) {
  const size_t fitting = kTileFloats / 2 / im2col_rows(shape) / kPanelSamples * kPanelSamples;
  return std::clamp(fitting, kPanelSamples, kMostColumns);
}

}  // namespace

ConvWork conv_work(const ConvShape& shape, size_t height, size_t width, size_t batch,
                   bool in_place) {
  const Layout layout = layout_of(shape, height, width, batch, in_place);
  const Im2col& tiles = layout.tiles;
  ConvWork work{};
  work.laid_out = tiles.tiles() * tiles.floats() * shape.groups;
  work.lines = tiles.lines() * shape.groups;
  if (layout.in_place) {
    work.samples = tiles.panels() * kPanelSamples;
    work.at_once = kPanelSamples;
    return work;
  }
  const Tile tile = tiles.tile(0);
  work.samples = batch * im2col_columns(shape, height, width);
  work.at_once = std::min(columns_at_once(shape), tile.images * tile.rows * tile.cols);
  work.copied = im2col_rows(shape) * shape.groups * work.samples;
  return work;
}

// A tile of a group, whose places are cut into runs of neighbours.
struct ConvProduct::Unit {
  size_t group;
  Tile tile;
  const float *x, *bias;
  float* y;
  size_t across;  // runs of a line

  size_t runs() const { return tile.images * tile.rows * across; }
};

// Run `number` of a unit, line by line and image by image.
ConvProduct::Run ConvProduct::run_of(const Unit& unit, size_t number) const {
  const size_t col = number % unit.across * layout_.run();
  const size_t line = number / unit.across, row = line % unit.tile.rows;
  const size_t image = line / unit.tile.rows;
  const size_t plane = (unit.tile.image + image) * shape_.channels_out;
  return {layout_.place(image, row, col),
          (plane * rows_ + unit.tile.row + row) * cols_ + unit.tile.col + col,
          std::min(layout_.run(), unit.tile.cols - col)};
}

ConvProduct::ConvProduct(const ConvShape& shape, size_t height, size_t width, size_t batch,
                         std::vector<std::shared_ptr<const Product>> products)
    : shape_(shape),
      height_(height),
      width_(width),
      batch_(batch),
      rows_(shape.output_extent(0, height)),
      cols_(shape.output_extent(1, width)),
      products_(std::move(products)),
      layout_(layout_of(shape, height, width, batch, false).tiles) {
  if (read_in_place()) return;
  const size_t inputs = im2col_rows(shape);
  for (size_t i = 0; i < inputs; ++i) offsets_.push_back(layout_.offset(i));
  most_columns_ = columns_at_once(shape);
}

bool ConvProduct::read_in_place() {
  Layout layout = layout_of(shape_, height_, width_, batch_, true);
  if (!layout.in_place) return false;
  for (const auto& product : products_) {
    in_place_.push_back(product->in_place(
        [&](size_t input) { return static_cast<uint32_t>(layout.tiles.offset(input)); }));
    if (in_place_.back() != nullptr) continue;
    in_place_.clear();
    return false;
  }
  layout_ = std::move(layout.tiles);
  return true;
}

size_t ConvProduct::space() const {
  const size_t more = in_place_.empty()
                          ? (offsets_.size() + outputs()) * most_columns_ + 2 * kPanelSamples
                          : outputs() * kPanelSamples;
  return round_up(layout_.floats() + more, kPanelSamples);
}

size_t ConvProduct::scratch(size_t threads) const {
  return in_place_.empty() ? space() : threads * space();
}

ConvProduct::Unit ConvProduct::unit(size_t number, const float* x, const float* bias,
                                    float* y) const {
  Unit unit;
  unit.group = number % shape_.groups;
  unit.tile = layout_.tile(number / shape_.groups);
  unit.x = x + unit.group * (shape_.channels_in / shape_.groups) * height_ * width_;
  unit.bias = bias == nullptr ? nullptr : bias + unit.group * outputs();
  unit.y = y + unit.group * outputs() * rows_ * cols_;
  unit.across = ceil_div(unit.tile.cols, layout_.run());
  return unit;
}

void ConvProduct::run(const float* x, const float* bias, float* y, float* scratch,
                      ThreadPool& pool) const {
  const size_t units = layout_.tiles() * shape_.groups;
  if (in_place_.empty()) {
    for (size_t i = 0; i < units; ++i) {
      const Unit part = unit(i, x, bias, y);
      layout_.fill(part.tile, part.x, scratch);
      multiply_columns(part, scratch, scratch + layout_.floats(), pool);
    }
    return;
  }
  size_t work = 0;
  for (const auto& product : products_)
    work += product->bytes() / sizeof(float) * layout_.panels() * kPanelSamples;
  const size_t items = items_for(pool, work);
  if (units >= 2 * items) {  // each thread has tiles of its own
    const auto tiles = [&](size_t item) {
      float* const patches = scratch + item * space();
      for (size_t i = units * item / items; i < units * (item + 1) / items; ++i) {
        const Unit part = unit(i, x, bias, y);
        layout_.fill(part.tile, part.x, patches);
        multiply_in_place(part, 0, 1, patches, patches + layout_.floats());
      }
    };
    return pool.for_each(items, std::ref(tiles));
  }
  for (size_t i = 0; i < units; ++i) {  // each has rows of its own
    const Unit part = unit(i, x, bias, y);
    layout_.fill(part.tile, part.x, scratch);
    const auto rows = [&](size_t item) {
      multiply_in_place(part, item, items, scratch, scratch + item * space() + layout_.floats());
    };
    pool.for_each(items, std::ref(rows));
  }
}

// Share `item` of the outputs of a unit, windows read where they are in `patches`: as many runs at
// a time as fill a panel, by as much of the weight as stays in the cache. Runs that are next to
// each other in y are written there, others by way of `strip`.
void ConvProduct::multiply_in_place(const Unit& unit, size_t item, size_t items,
                                    const float* patches, float* strip) const {
  const PanelProduct& product = *in_place_[unit.group];
  const size_t bytes = products_[unit.group]->bytes() / items, places = rows_ * cols_;
  const size_t strips = bytes <= kKeptBytes ? 1 : ceil_div(bytes, kKeptBytes / 2);
  const size_t per_panel = kPanelSamples / layout_.run(), runs = unit.runs();
  for (size_t share = item * strips; share < (item + 1) * strips; ++share) {
    const auto [first, last] = product.outputs(share, items * strips);
    for (size_t r = 0; r < runs; r += per_panel) {
      const size_t count = std::min(per_panel, runs - r);
      std::array<Run, 4> run;
      std::array<const float*, 4> from;
      bool together = count == per_panel;  // in y
      for (size_t i = 0; i < per_panel; ++i) {
        run[i] = i < count ? run_of(unit, r + i) : run[0];
        from[i] = patches + run[i].from;
        together =
            together && run[i].count == layout_.run() && run[i].to == run[0].to + i * layout_.run();
      }
      const std::span<const float* const> lines(from.data(), per_panel);
      if (together) {
        product.run(lines, share, items * strips, unit.bias, unit.y + run[0].to, places);
        continue;
      }
      product.run(lines, share, items * strips, unit.bias, strip, kPanelSamples);
      for (size_t i = 0; i < count; ++i)
        copy_out(strip + first * kPanelSamples + i * layout_.run(), last - first, kPanelSamples,
                 run[i].count, unit.y + first * places + run[i].to, places);
    }
  }
}

// A unit whose windows are copied to `columns`, [inputs, samples], as many runs at a time as there
// is room for; a whole image is written to y, others by way of a strip behind the columns.
void ConvProduct::multiply_columns(const Unit& unit, const float* patches, float* columns,
                                   ThreadPool& pool) const {
  const size_t places = rows_ * cols_, runs = unit.runs();
  float* const strip =
      columns + round_up(offsets_.size() * most_columns_, kPanelSamples) + kPanelSamples;
  for (size_t r = 0; r < runs;) {
    std::array<Run, kMostColumns> run;
    size_t count = 0, samples = 0;
    for (; r < runs && samples + layout_.run() <= most_columns_; ++r, ++count) {
      run[count] = run_of(unit, r);
      samples += run[count].count;
    }
    const std::span<const Run> taken(run.data(), count);
    float* to = columns;
    for (const size_t offset : offsets_) to = copy_runs(layout_.run(), patches + offset, taken, to);
    const bool whole_image = samples == places && unit.tile.images == 1;
    float* y = whole_image ? unit.y + run[0].to : strip;
    products_[unit.group]->run(columns, Features::kOuter, samples, unit.bias, y, pool);
    if (whole_image) continue;
    for (const Run& part : taken) {
      copy_out(y, outputs(), samples, part.count, unit.y + part.to, places);
      y += part.count;
    }
  }
}

}  // namespace espalier
