// Attention as passes find it: softmax(alpha Q K^T + mask) V for each head, heads side by side in
// memory as the products before leave them (arXiv:1706.03762).

#include <algorithm>

#include "lib/kernels/dense/multiply_matrices.h"
#include "lib/kernels/elementwise/elementwise.h"
#include "lib/ops/op_util.h"
#include "lib/ops/softmax_row.h"

namespace espalier {
namespace {

// [batch, places, heads, features]; a batch or head of extent 1 serves all.
struct Heads {
  const float* data;
  size_t batch, places, heads, features;

  Heads(const RunContext& run, size_t input) : data(f32_of(run, input)) {
    const Dims& dims = run.input(input).dims;
    if (dims.rank() != 4) fail("input {} is {}, expected 4 axes", input, to_string(dims));
    batch = static_cast<size_t>(dims[0]);
    places = static_cast<size_t>(dims[1]);
    heads = static_cast<size_t>(dims[2]);
    features = static_cast<size_t>(dims[3]);
  }
  // Distance from one place to the next.
  size_t stride() const { return heads * features; }
  const float* head(size_t b, size_t h) const {
    return data + (batch == 1 ? 0 : b) * places * stride() + (heads == 1 ? 0 : h) * features;
  }
  Dims dims() const { return {static_cast<int64_t>(batch), static_cast<int64_t>(heads)}; }
};

// What is added to [batch, heads, places of Q, places of K].
struct Mask {
  const float* data = nullptr;
  Dims dims{1, 1, 1, 1};
  Strides stride{};
};

struct Problem {
  Heads q, k, v;
  Mask mask;
  size_t batch, heads, rows;  // of the output: broadcast
  float alpha;

  Problem(const RunContext& run, float scale) : q(run, 0), k(run, 1), v(run, 2), alpha(scale) {
    if (q.features != k.features || k.places != v.places) {
      fail("{}, {} and {} do not match each other", to_string(run.input(0).dims),
           to_string(run.input(1).dims), to_string(run.input(2).dims));
    }
    Dims scores = broadcast(q.dims(), k.dims());
    scores.push_back(static_cast<int64_t>(q.places));
    scores.push_back(static_cast<int64_t>(k.places));
    if (run.has_input(3)) {
      mask.data = f32_of(run, 3);
      scores = broadcast(scores, run.input(3).dims);
      if (scores.rank() != 4 || static_cast<size_t>(scores[3]) != k.places) {
        fail("a mask of shape {} for {} positions", to_string(run.input(3).dims), k.places);
      }
      mask.stride = broadcast_strides(run.input(3).dims, scores);
    }
    const Dims all = broadcast({scores[0], scores[1]}, v.dims());
    batch = static_cast<size_t>(all[0]);
    heads = static_cast<size_t>(all[1]);
    rows = static_cast<size_t>(scores[2]);
    // Where V alone has more batches or heads the scores repeat.
    if (scores[0] == 1) mask.stride[0] = 0;
    if (scores[1] == 1) mask.stride[1] = 0;
  }

  Dims output() const {
    return {static_cast<int64_t>(batch), static_cast<int64_t>(rows), static_cast<int64_t>(heads),
            static_cast<int64_t>(v.features)};
  }

  void add_mask(size_t b, size_t h, float* scores) const {
    if (mask.data == nullptr) return;
    for (size_t r = 0; r < rows; ++r) {
      const auto at = [&](size_t axis, size_t i) {
        return static_cast<ptrdiff_t>(i) * mask.stride[axis];
      };
      const float* line = mask.data + at(0, b) + at(1, h) + at(2, r);
      const std::span<float> row(scores + r * k.places, k.places);
      if (mask.stride[3] == 0) {
        add(row, *line, row);
      } else {
        add(row, {line, k.places}, row);
      }
    }
  }

  // One head of one batch; `scores` holds rows x places of K.
  void run(size_t b, size_t h, float* scores, float* y) const {
    multiply_strided({q.head(b, h), false, q.stride()}, {k.head(b, h), true, k.stride()}, q.places,
                     q.features, k.places, alpha, scores, k.places);
    for (size_t r = q.places; r < rows; ++r)  // one row of Q under several of the mask
      std::copy_n(scores, k.places, scores + r * k.places);
    add_mask(b, h, scores);
    for (size_t r = 0; r < rows; ++r)
      softmax_row(scores + r * k.places, scores + r * k.places, k.places);
    multiply_strided({scores, false, k.places}, {v.head(b, h), false, v.stride()}, rows, k.places,
                     v.features, 1, y + (b * rows * heads + h) * v.features, heads * v.features);
  }
};

Run prepare(const PrepareContext& context) {
  return [alpha = float_attribute(context.node, "scale", 1)](RunContext& run) {
    const Problem problem(run, alpha);
    float* y = f32_output(run, 0, problem.output());
    if (checked_count(problem.output()) == 0) return;
    const size_t size = std::max<size_t>(problem.rows * problem.k.places, 1);
    const size_t count = problem.batch * problem.heads;
    // As many pieces as there may be threads, each with scores of its own.
    const size_t pieces = std::min(count, run.pool().threads());
    float* scores = run.scratch_f32(pieces * size);
    parallel(run.pool(), pieces, count * size * 16, [&](size_t begin, size_t end) {
      for (size_t piece = begin; piece < end; ++piece) {
        for (size_t i = count * piece / pieces; i < count * (piece + 1) / pieces; ++i)
          problem.run(i / problem.heads, i % problem.heads, scores + piece * size, y);
      }
    });
  };
}

}  // namespace

// Q, K, V [batch, places, heads, features] and a mask; y is [batch, places, heads, features of V].
constinit const Operator fused_attention_operator{
    .name = "Attention", .prepare = prepare, .domain = kFusedDomain};

}  // namespace espalier
