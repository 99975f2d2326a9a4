// Kernels of blocks with one sample next to the loops that speech codecs ship (one_sample_loops.h
// of ../shared/peers), in turns within one run, one thread: y[m] = W[m, k] x[k], blocks at random
// places. One line of JSON per case, times in microseconds, the best of all calls. Results are
// compared before anything is timed.
//
//   one_sample_peers [SECONDS per case and loop, 0.1]
#include <fmt/format.h>
#include <one_sample_loops.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "lib/base/check.h"
#include "lib/kernels/scratch.h"
#include "lib/kernels/sparse_product.h"
#include "lib/sparse/pack.h"
#include "tests/bench/block_cases.h"

namespace espalier {
namespace {

constexpr size_t kReadBehind = 32;  // elements of x that the loops may read behind its end

// A weight as those loops read it: counts and first columns, and values column after column of a
// block (i8: row after row, 4 bytes each).
struct Yardstick {
  std::vector<int32_t> index;
  std::vector<float> values;
  std::vector<int8_t> bytes;
  std::vector<float> scale, offset;
};

Yardstick yardstick_of(const SparseMatrix& w) {
  Yardstick to;
  const size_t rows = w.block.rows, cols = w.block.cols;
  const std::span<const float> values = w.values.data<float>();
  for (size_t row = 0; row < w.grid_rows(); ++row) {
    to.index.push_back(static_cast<int32_t>(w.row_start[row + 1] - w.row_start[row]));
    for (size_t b = w.row_start[row]; b < w.row_start[row + 1]; ++b) {
      to.index.push_back(static_cast<int32_t>(w.col[b] * cols));
      for (size_t c = 0; c < cols; ++c)
        for (size_t r = 0; r < rows; ++r)
          to.values.push_back(values[b * rows * cols + r * cols + c]);
    }
  }
  return to;
}

// W rounded to bytes, a step for each output, in both forms.
SparseMatrix rounded(const SparseMatrix& w, Yardstick& to) {
  SparseMatrix quantized = w;
  const size_t area = w.block.area();
  const std::span<const float> values = w.values.data<float>();
  std::vector<float> most(w.fold.rows, 0.0F), sums(w.fold.rows, 0.0F);
  const auto for_values = [&](const auto& visit) {
    for (size_t row = 0; row < w.grid_rows(); ++row)
      for (size_t b = w.row_start[row]; b < w.row_start[row + 1]; ++b)
        for (size_t i = 0; i < area; ++i)
          visit(row * w.block.rows + i / w.block.cols, values[b * area + i]);
  };
  for_values(
      [&](size_t output, float value) { most[output] = std::max(most[output], std::abs(value)); });
  for (const float value : most) to.scale.push_back(value > 0 ? value / 127 : 1);
  for_values([&](size_t output, float value) {
    to.bytes.push_back(static_cast<int8_t>(std::lround(value / to.scale[output])));
    sums[output] += static_cast<float>(to.bytes.back());
  });
  for (const float sum : sums) to.offset.push_back(127 * sum);
  quantized.values = Tensor::of<int8_t>(w.values.shape(), to.bytes);
  quantized.scale = Tensor::of<float>({static_cast<int64_t>(w.fold.rows)}, to.scale);
  for (float& scale : to.scale) scale /= 127;  // of x, which lies in [-1, 1]
  return quantized;
}

struct Timed {
  std::function<void()> run;
  double best = 1e30;
};

void compare(BlockShape block, bool i8, size_t m, size_t k, int zeros, double seconds) {
  SparseMatrix matrix = random_blocks(block, m, k, zeros);
  Yardstick loop = yardstick_of(matrix);
  if (i8) matrix = rounded(matrix, loop);
  Scratch memory[3];  // begin at lines, as tensors of the runtime do
  float* const x = memory[0].floats(k + kReadBehind);
  float* const ours = memory[1].floats(m);
  float* const theirs = memory[2].floats(m);
  std::fill_n(x, k + kReadBehind, 0.0F);
  std::ranges::copy(random_values(k), x);
  std::vector<uint8_t> bytes(k + kReadBehind);
  ThreadPool pool(1);
  const auto product = prepare_sparse(matrix);
  const int rows = static_cast<int>(m), cols = static_cast<int>(k);
  Timed all[2];
  all[0].run = [&] { product->run(x, Features::kInner, 1, nullptr, ours, pool); };
  all[1].run = [&] {
    if (i8) {
      yardstick::gemv_8x4_i8(rows, cols, loop.bytes.data(), loop.index.data(), loop.scale.data(),
                             loop.offset.data(), x, bytes.data(), theirs);
    } else if (block.rows == 16) {
      yardstick::gemv_16x1(rows, loop.values.data(), loop.index.data(), x, theirs);
    } else {
      yardstick::gemv_8x4(rows, loop.values.data(), loop.index.data(), x, theirs);
    }
  };
  for (Timed& one : all) one.run();
  for (size_t i = 0; i < m; ++i) {
    if (std::abs(ours[i] - theirs[i]) < (i8 ? 0.2F : 1e-3F)) continue;
    fmt::print(stderr, "{} {}x{}: {} for {} at {}\n", to_string(block), m, k, theirs[i], ours[i],
               i);
    std::exit(1);
  }
  Stopwatch watches[2];
  for (double spent = 0; spent < 2 * seconds;) {
    for (size_t i = 0; i < 2; ++i) {
      all[i].run();  // its weights are in the cache again, as if it ran alone
      for (int call = 0; call < 8; ++call) spent += watches[i](all[i].run);
    }
    spent += 1e-5;
  }
  fmt::print(
      R"({{"block": "{}", "values": "{}", "m": {}, "k": {}, "density": {}, "us": {:.3f}, "loop_us": {:.3f}, "times": {:.2f}}})"
      "\n",
      to_string(block), i8 ? "i8" : "f32", m, k, 1 - zeros / 100.0, 1e6 * watches[0].best(),
      1e6 * watches[1].best(), watches[1].best() / watches[0].best());
  std::fflush(stdout);
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  using espalier::BlockShape;
  const double seconds = argc > 1 ? std::atof(argv[1]) : 0.1;
  constexpr size_t kShapes[][2] = {{576, 192}, {1152, 384}, {768, 768}, {3072, 768}};
  const auto all = [&](BlockShape block, bool i8) {
    for (const auto& [m, k] : kShapes)
      for (const int zeros : {95, 90, 75, 50}) espalier::compare(block, i8, m, k, zeros, seconds);
  };
  all({16, 1}, false);
  all({8, 4}, false);
  all({8, 4}, true);
}
