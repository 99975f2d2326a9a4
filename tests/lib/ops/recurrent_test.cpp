// GRU and LSTM next to plain loops: directions, sequences that end early, ragged widths.
#include <doctest/doctest.h>

#include <cmath>

#include "lib/kernels/simd_target.h"
#include "lib/runtime/executor.h"
#include "tests/lib/kernels/sparse_case.h"
#include "tests/lib/runtime/graph_maker.h"

namespace espalier {
namespace {

constexpr size_t kSteps = 4, kInputs = 3;

struct Layer {
  std::string op, direction;
  size_t hidden, batch;
  int64_t linear_before_reset;
  bool ended;     // sequences end before the last step
  float special;  // put into X; 0: nothing

  bool lstm() const { return op == "LSTM"; }
  size_t gates() const { return lstm() ? 4 : 3; }
  size_t directions() const { return direction == "bidirectional" ? 2 : 1; }
  size_t length(size_t n) const { return ended ? kSteps - n % kSteps : kSteps; }
};

struct Weights {
  std::vector<float> x, w, r, b, h, c, p;
};

Weights weights_of(const Layer& layer) {
  const size_t d = layer.directions(), rows = d * layer.gates() * layer.hidden;
  Weights made{random_values(kSteps * layer.batch * kInputs, 1),
               random_values(rows * kInputs, 2),
               random_values(rows * layer.hidden, 3),
               random_values(2 * rows, 4),
               random_values(d * layer.batch * layer.hidden, 5),
               random_values(d * layer.batch * layer.hidden, 6),
               random_values(3 * d * layer.hidden, 7)};
  // As trained ones: sums of any width stay where the functions bend.
  for (float& value : made.r) value *= 2 / std::sqrt(static_cast<float>(layer.hidden));
  if (layer.special != 0) made.x[kInputs * layer.batch] = layer.special;
  return made;
}

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// [steps, directions, batch, hidden], in double.
std::vector<float> plain(const Layer& l, const Weights& v) {
  const size_t h = l.hidden, g = l.gates();
  std::vector<float> y(kSteps * l.directions() * l.batch * h);
  for (size_t d = 0; d < l.directions(); ++d) {
    const bool backwards = d == 1 || l.direction == "reverse";
    const auto at = [&](const std::vector<float>& matrix, size_t cols, size_t gate, size_t i) {
      return matrix.data() + ((d * g + gate) * h + i) * cols;
    };
    for (size_t n = 0; n < l.batch; ++n) {
      const size_t first = (d * l.batch + n) * h;
      std::vector<double> state(v.h.begin() + first, v.h.begin() + first + h);
      std::vector<double> cell(v.c.begin() + first, v.c.begin() + first + h);
      for (size_t step = 0; step < l.length(n); ++step) {
        const size_t time = backwards ? l.length(n) - 1 - step : step;
        const auto wx = [&](size_t gate, size_t i) {
          double sum = v.b[d * 2 * g * h + gate * h + i];
          for (size_t k = 0; k < kInputs; ++k)
            sum += double{at(v.w, kInputs, gate, i)[k]} * v.x[(time * l.batch + n) * kInputs + k];
          return sum;
        };
        const auto rh = [&](size_t gate, size_t i, const std::vector<double>& of) {
          double sum = v.b[d * 2 * g * h + (g + gate) * h + i];
          for (size_t k = 0; k < h; ++k) sum += at(v.r, h, gate, i)[k] * of[k];
          return sum;
        };
        std::vector<double> next(h), reset(h);
        if (l.lstm()) {
          const auto seen = [&](size_t gate, size_t i) { return v.p[(d * 3 + gate) * h + i]; };
          for (size_t i = 0; i < h; ++i) {
            const auto sum = [&](size_t gate) { return wx(gate, i) + rh(gate, i, state); };
            const double in = logistic(sum(0) + seen(0, i) * cell[i]);
            const double forget = logistic(sum(2) + seen(2, i) * cell[i]);
            cell[i] = forget * cell[i] + in * std::tanh(sum(3));
            next[i] = logistic(sum(1) + seen(1, i) * cell[i]) * std::tanh(cell[i]);
          }
        } else {
          for (size_t i = 0; i < h; ++i) reset[i] = logistic(wx(1, i) + rh(1, i, state)) * state[i];
          for (size_t i = 0; i < h; ++i) {
            const double z = logistic(wx(0, i) + rh(0, i, state));
            const double r = logistic(wx(1, i) + rh(1, i, state));
            const double part = l.linear_before_reset ? r * rh(2, i, state) : rh(2, i, reset);
            next[i] = (1 - z) * std::tanh(wx(2, i) + part) + z * state[i];
          }
        }
        state = next;
        for (size_t i = 0; i < h; ++i)
          y[((time * l.directions() + d) * l.batch + n) * h + i] = static_cast<float>(state[i]);
      }
    }
  }
  return y;
}

std::vector<float> run(const Layer& l, const Weights& v) {
  const auto n = static_cast<int64_t>(l.batch), h = static_cast<int64_t>(l.hidden);
  const auto d = static_cast<int64_t>(l.directions()), g = static_cast<int64_t>(l.gates());
  constexpr int64_t kX = kInputs;
  Maker maker;
  maker.input("x", DType::kF32, Shape{-1, n, kX});
  maker.weight("w", floats({d, g * h, kX}, v.w)).weight("r", floats({d, g * h, h}, v.r));
  maker.weight("b", floats({d, 2 * g * h}, v.b)).weight("h", floats({d, n, h}, v.h));
  std::vector<int32_t> lengths;
  for (size_t i = 0; i < l.batch; ++i) lengths.push_back(static_cast<int32_t>(l.length(i)));
  maker.weight("lengths", Tensor::of<int32_t>({n}, lengths));
  std::vector<std::string> inputs{"x", "w", "r", "b", l.ended ? "lengths" : "", "h"};
  if (l.lstm()) {
    maker.weight("c", floats({d, n, h}, v.c)).weight("p", floats({d, 3 * h}, v.p));
    inputs.insert(inputs.end(), {"c", "p"});
  }
  Node& node = maker.node(l.op, inputs, {"y"});
  set_attribute(node, "direction", l.direction);
  set_attribute(node, "hidden_size", h);
  if (!l.lstm()) set_attribute(node, "linear_before_reset", l.linear_before_reset);
  maker.output("y");
  const Tensor x = floats({int64_t{kSteps}, n, kX}, v.x);
  const Feed got = Executor(maker.model(), {}).run({{"x", x}});
  const std::span<const float> y = got.at("y").data<float>();
  return {y.begin(), y.end()};
}

template <class Body>
void for_each_layer(size_t hidden, float special, const Body& body) {
  for (const std::string op : {"GRU", "LSTM"})
    for (const int64_t after : {0, 1})
      for (const std::string direction : {"forward", "reverse", "bidirectional"})
        for (const size_t batch : {1, 3})
          for (const bool ended : {false, true}) {
            if (op == "LSTM" && after == 1) continue;
            CAPTURE(op);
            CAPTURE(after);
            CAPTURE(direction);
            CAPTURE(batch);
            CAPTURE(ended);
            const Layer layer{op, direction, hidden, batch, after, ended && batch > 1, special};
            const Weights weights = weights_of(layer);
            body(layer, weights);
          }
}

TEST_CASE("GRU and LSTM are their formulas: every direction, width, batch and length") {
  for_each_simd_target([] {
    CAPTURE(simd_target());
    for (const size_t hidden : {1, 5, 17, 96, 192}) {
      if (hidden > 17 && simd_target() != simd_targets().front())
        continue;  // cells: kernels' tests
      CAPTURE(hidden);
      for_each_layer(hidden, 0, [](const Layer& layer, const Weights& weights) {
        // Roundings of four steps that each feed the next.
        CHECK(max_difference(run(layer, weights), plain(layer, weights)) < 5e-6F);
      });
    }
  });
}

TEST_CASE("NaN and infinity in one step of one sequence go where the formulas bring them") {
  for (const float special : {NAN, INFINITY, -INFINITY}) {
    CAPTURE(special);
    for_each_layer(17, special, [](const Layer& layer, const Weights& weights) {
      CHECK(max_difference(run(layer, weights), plain(layer, weights)) < 5e-6F);
    });
  }
}

}  // namespace
}  // namespace espalier
