#include "lib/kernels/elementwise/recurrent_cell.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "lib/kernels/simd_target.h"
#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

// A few roundings and the errors of sigmoid and tanh, of values up to 4.
constexpr float kRounding = 3e-6F;

// Largest difference, relative to numbers above 1.
float worst(std::vector<float> got, std::vector<float> wanted) {
  for (size_t i = 0; i < got.size() && i < wanted.size(); ++i) {
    if (!std::isfinite(wanted[i])) continue;
    const float scale = std::max(std::fabs(wanted[i]), 1.0F);
    got[i] /= scale;
    wanted[i] /= scale;
  }
  return max_difference(got, wanted);
}

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// Random sums up to 4; `special` puts NaN, infinities and large numbers between them.
std::vector<float> sums(size_t count, uint32_t seed, bool special) {
  std::vector<float> values = random_values(count, seed);
  for (float& value : values) value *= 4;
  if (!special) return values;
  const float odd[] = {NAN, INFINITY, -INFINITY, 300.0F, -300.0F, 1e30F, 0.0F, -1e30F};
  for (size_t i = seed % 3; i < count; i += 3) values[i] = odd[(i / 3 + seed) % std::size(odd)];
  return values;
}

template <class Body>
void for_each_case(const Body& body) {
  for_each_simd_target([&] {
    CAPTURE(simd_target());
    for (const bool special : {false, true}) {
      CAPTURE(special);
      for (const size_t hidden : {1, 5, 17, 96, 192}) {
        CAPTURE(hidden);
        body(hidden, special);
      }
    }
  });
}

// One element more than the cell may touch.
std::vector<float> guarded(std::vector<float> values) {
  values.push_back(123.0F);
  return values;
}
std::vector<float> unguarded(std::vector<float> values) {
  CHECK(values.back() == 123.0F);
  values.pop_back();
  return values;
}

TEST_CASE("the GRU cell is the formula, on every instruction set, with any numbers") {
  for_each_case([](size_t hidden, bool special) {
    const std::vector<float> x = sums(3 * hidden, 1, special), s = sums(3 * hidden, 2, special);
    const std::vector<float> h = sums(hidden, 3, special);
    std::vector<float> after(hidden), z(hidden), reset(hidden), before(hidden);
    for (size_t i = 0; i < hidden; ++i) {
      const size_t r_at = hidden + i, n_at = 2 * hidden + i;
      // Sums are those of floats: they decide between infinity and a number.
      z[i] = static_cast<float>(logistic(x[i] + s[i]));
      const float r = static_cast<float>(logistic(x[r_at] + s[r_at]));
      const double n = std::tanh(double{x[n_at]} + double{r} * s[n_at]);
      after[i] = static_cast<float>((1 - double{z[i]}) * n + double{z[i]} * h[i]);
      reset[i] = r * h[i];
      const double m = std::tanh(double{x[n_at]} + double{s[n_at]});
      before[i] = static_cast<float>((1 - double{z[i]}) * m + double{z[i]} * h[i]);
    }
    std::vector<float> state = guarded(h);
    gru_cell(hidden, x.data(), s.data(), state.data());
    CHECK(worst(unguarded(state), after) < kRounding);

    std::vector<float> gates = guarded({s.begin(), s.begin() + 2 * hidden});
    std::vector<float> made = guarded(std::vector<float>(hidden));
    gru_gates(hidden, x.data(), gates.data(), h.data(), made.data());
    gates = unguarded(gates);
    CHECK(worst({gates.begin(), gates.begin() + hidden}, z) < kRounding);
    CHECK(worst(unguarded(made), reset) < kRounding);

    state = guarded(h);
    gru_update(hidden, x.data() + 2 * hidden, s.data() + 2 * hidden, gates.data(), state.data());
    CHECK(worst(unguarded(state), before) < kRounding);
  });
}

TEST_CASE("the LSTM cell is the formula, on every instruction set, with any numbers") {
  for_each_case([](size_t hidden, bool special) {
    const std::vector<float> x = sums(4 * hidden, 1, special), s = sums(4 * hidden, 2, special);
    const std::vector<float> c = sums(hidden, 3, special), p = random_values(3 * hidden, 4);
    for (const bool peephole : {false, true}) {
      CAPTURE(peephole);
      std::vector<float> cell(hidden), state(hidden);
      for (size_t i = 0; i < hidden; ++i) {
        const auto gate = [&](size_t index, double of) {
          const double seen = peephole ? p[index * hidden + i] * of : 0.0;
          return x[index * hidden + i] + s[index * hidden + i] + seen;
        };
        const double g = std::tanh(x[3 * hidden + i] + s[3 * hidden + i]);
        const double in = logistic(gate(0, c[i])), forget = logistic(gate(2, c[i]));
        cell[i] = static_cast<float>(forget * c[i] + in * g);
        state[i] = static_cast<float>(logistic(gate(1, cell[i])) * std::tanh(cell[i]));
      }
      std::vector<float> made = guarded(std::vector<float>(hidden)), kept = guarded(c);
      lstm_cell(hidden, x.data(), s.data(), peephole ? p.data() : nullptr, made.data(),
                kept.data());
      CHECK(worst(unguarded(kept), cell) < kRounding);
      CHECK(worst(unguarded(made), state) < kRounding);
    }
  });
}

}  // namespace
}  // namespace espalier
