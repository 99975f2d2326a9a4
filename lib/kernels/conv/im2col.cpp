#include "lib/kernels/conv/im2col.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lib/base/checked_math.h"

namespace espalier {
namespace {

constexpr std::array<size_t, 2> kOnes{1, 1}, kZeros{0, 0};
// Images whose places fill less than this many samples share a tile.
constexpr size_t kSamplesOfTile = 64;
// Channels begin at odd lines of the cache, so that the same place of many does not drive each
// other out.
constexpr size_t kLine = 16;
constexpr size_t kMostStretches = 64;  // along an axis where taps share what they see

// Lines of an image that are copied: `count` floats of each, `step` apart.
struct Lines {
  const float* from;
  float* to;
  size_t lines, count, from_pitch, to_pitch;
};

// Lines of `count` floats, kWhole <= count <= 2 * kWhole: two copies of fixed length that overlap,
// for lines are often shorter than a call of memcpy takes.
template <size_t kWhole>
void copy_short(const Lines& lines) {
  const size_t rest = lines.count - kWhole;
  const float* from = lines.from;
  float* to = lines.to;
  for (size_t i = 0; i < lines.lines; ++i, from += lines.from_pitch, to += lines.to_pitch) {
    std::memcpy(to, from, kWhole * sizeof(float));
    std::memcpy(to + rest, from + rest, kWhole * sizeof(float));
  }
}

// kStep 0: any.
template <size_t kStep>
void copy_each(const Lines& lines, size_t step = kStep) {
  const float* from = lines.from;
  float* to = lines.to;
  for (size_t i = 0; i < lines.lines; ++i, from += lines.from_pitch, to += lines.to_pitch)
    for (size_t c = 0; c < lines.count; ++c) to[c] = from[c * (kStep == 0 ? step : kStep)];
}

void copy_lines(const Lines& lines, size_t step) {
  if (step == 2) return copy_each<2>(lines);
  if (step > 2) return copy_each<0>(lines, step);
  if (lines.count < 4) return copy_each<1>(lines);
  if (lines.count <= 8) return copy_short<4>(lines);
  if (lines.count <= 16) return copy_short<8>(lines);
  if (lines.count <= 32) return copy_short<16>(lines);
  for (size_t i = 0; i < lines.lines; ++i)
    std::copy_n(lines.from + i * lines.from_pitch, lines.count, lines.to + i * lines.to_pitch);
}

size_t panels_of(size_t lines, size_t cols, size_t run) {
  return ceil_div(lines * ceil_div(cols, run), kPanelSamples / run);
}

// Long runs are loaded quicker, short ones waste less at the end of a line.
size_t best_run(size_t lines, size_t cols) {
  size_t best = kPanelSamples;
  for (const size_t run : {8, 4})
    if (20 * panels_of(lines, cols, run) < 19 * panels_of(lines, cols, best)) best = run;
  return best;
}

// Positions of a stretch whose inputs lie inside the image, and the first of these inputs.
struct Inside {
  size_t first, end, input;
};

Inside inside(size_t start, size_t stride, size_t pad, size_t inputs, size_t count) {
  const size_t first = start >= pad ? 0 : ceil_div(pad - start, stride);
  const size_t end = start >= inputs + pad ? 0 : ceil_div(inputs + pad - start, stride);
  if (first >= std::min(end, count)) return {0, 0, 0};
  return {first, std::min(end, count), start + first * stride - pad};
}

}  // namespace

bool im2col_is_identity(const ConvShape& shape) {
  return shape.kernel == kOnes && shape.stride == kOnes && shape.pad_begin == kZeros &&
         shape.pad_end == kZeros;
}

Im2col::Axis Im2col::axis(const ConvShape& shape, size_t which, size_t inputs, size_t places) {
  const size_t taps = shape.kernel[which], stride = shape.stride[which];
  const size_t dilation = shape.dilation[which];
  const auto stretch_of = [&](const Axis& axis, size_t tap) {  // by the remainder of its distance
    return static_cast<size_t>(std::ranges::find(axis.starts, tap * dilation % stride) -
                               axis.starts.begin());
  };
  Axis axis{.inputs = inputs, .stride = stride, .pad = shape.pad_begin[which]};
  axis.part = places + (taps - 1) * dilation / stride;
  for (size_t tap = 0; tap < taps && stride <= kMostStretches; ++tap)
    if (stretch_of(axis, tap) == axis.starts.size()) axis.starts.push_back(tap * dilation % stride);
  if (!axis.starts.empty() && axis.extent() <= taps * places) {
    for (size_t tap = 0; tap < taps; ++tap)
      axis.taps.push_back(stretch_of(axis, tap) * axis.part + tap * dilation / stride);
    return axis;
  }
  axis.part = places;  // each tap has its own: sharing would leave wide gaps
  axis.starts.clear();
  for (size_t tap = 0; tap < taps; ++tap) {
    axis.starts.push_back(tap * dilation);
    axis.taps.push_back(tap * places);
  }
  return axis;
}

void Im2col::cut(size_t images, size_t rows, size_t cols) {
  tile_images_ = images;
  tile_rows_ = rows;
  tile_cols_ = cols;
  y_ = axis(shape_, 0, height_, rows);
  x_ = axis(shape_, 1, width_, round_up(cols, run_));
  pitch_ = x_.extent();
  image_floats_ = pitch_ * y_.extent();
  channel_floats_ = (ceil_div(images * image_floats_, kLine) | 1) * kLine;
}

Im2col::Im2col(const ConvShape& shape, size_t height, size_t width, size_t batch, size_t most)
    : shape_(shape),
      height_(height),
      width_(width),
      batch_(batch),
      rows_(shape.output_extent(0, height)),
      cols_(shape.output_extent(1, width)) {
  if (batch_ == 0 || rows_ == 0 || cols_ == 0) return;
  size_t cols = std::min(cols_, round_up(most, kPanelSamples));
  size_t rows = std::clamp<size_t>(most / cols, 1, rows_);
  const bool whole = rows == rows_ && cols == cols_;
  const size_t images = whole ? std::clamp<size_t>(kSamplesOfTile / (rows_ * cols_), 1, batch_) : 1;
  run_ = best_run(images * rows, cols_);
  cut(images, rows, cols);
  if (floats() > most) cut(1, rows, cols);
  while (floats() > most && rows > 1) cut(1, rows = ceil_div(rows, 2), cols);
  // As many tiles, of about equal size.
  if (rows < rows_) cut(1, rows = ceil_div(rows_, ceil_div(rows_, rows)), cols);
  while (floats() > most && cols > kPanelSamples)
    cut(1, rows, cols = round_up(ceil_div(cols, 2), kPanelSamples));
  tiles_ = ceil_div(batch_, tile_images_) * ceil_div(rows_, tile_rows_) * ceil_div(cols_, cols);
  for (size_t t = 0; t < tiles_; ++t) {
    const Tile part = tile(t);
    panels_ += panels_of(part.images * part.rows, part.cols, run_);
  }
}

Tile Im2col::tile(size_t number) const {
  const size_t across = ceil_div(cols_, tile_cols_), down = ceil_div(rows_, tile_rows_);
  const size_t col = number % across * tile_cols_, row = number / across % down * tile_rows_;
  const size_t image = number / across / down * tile_images_;
  return {image, std::min(tile_images_, batch_ - image), row, std::min(tile_rows_, rows_ - row),
          col,   std::min(tile_cols_, cols_ - col)};
}

size_t Im2col::lines() const {
  return tiles_ * shape_.channels_in / shape_.groups * tile_images_ * y_.extent() *
         x_.starts.size();
}

size_t Im2col::floats() const {  // one channel more, of zeros
  return (shape_.channels_in / shape_.groups + 1) * channel_floats_;
}

size_t Im2col::offset(size_t input) const {
  const size_t kw = input % shape_.kernel[1], kh = input / shape_.kernel[1] % shape_.kernel[0];
  const size_t channel = input / shape_.kernel[1] / shape_.kernel[0];
  if (channel >= shape_.channels_in / shape_.groups)
    return shape_.channels_in / shape_.groups * channel_floats_;
  return channel * channel_floats_ + y_.taps[kh] * pitch_ + x_.taps[kw];
}

void Im2col::fill(const Tile& tile, const float* images, float* patches) const {
  const size_t channels = shape_.channels_in / shape_.groups, plane = height_ * width_;
  std::fill_n(patches, floats(), 0.0F);
  for (size_t i = 0; i < tile.images; ++i) {
    const float* image = images + (tile.image + i) * shape_.channels_in * plane;
    for (size_t down = 0; down < y_.starts.size(); ++down) {
      const Inside rows =
          inside(y_.starts[down] + tile.row * y_.stride, y_.stride, y_.pad, height_, y_.part);
      for (size_t across = 0; across < x_.starts.size(); ++across) {
        const Inside line =
            inside(x_.starts[across] + tile.col * x_.stride, x_.stride, x_.pad, width_, x_.part);
        const size_t to_first = i * image_floats_ + (down * y_.part + rows.first) * pitch_ +
                                across * x_.part + line.first;
        Lines lines{image + rows.input * width_ + line.input,
                    patches + to_first,
                    rows.end - rows.first,
                    line.end - line.first,
                    y_.stride * width_,
                    pitch_};
        if (lines.lines == 1) {
          lines.lines = channels;
          lines.from_pitch = plane;
          lines.to_pitch = channel_floats_;
          copy_lines(lines, x_.stride);
          continue;
        }
        for (size_t channel = 0; channel < channels; ++channel) {
          copy_lines(lines, x_.stride);
          lines.from += plane;
          lines.to += channel_floats_;
        }
      }
    }
  }
}

}  // namespace espalier
