#pragma once

#include <cstddef>
#include <span>

namespace espalier {

/// Functions of every element, on the calling thread, by the instruction set in use. y is as long
/// as the inputs (another length is a bug) and may be one of them, but not overlap them otherwise.
/// Not a number in, not a number out.
///
/// exp, sigmoid and tanh differ by at most 3e-7 relative from the exact value (1e-6 on armv7, which
/// divides by an approximated reciprocal), or 3e-38 absolute where results are subnormal (they may
/// be flushed to zero). Infinities give the limits.
void exp(std::span<const float> x, std::span<float> y);
void sigmoid(std::span<const float> x, std::span<float> y);
void tanh(std::span<const float> x, std::span<float> y);
void relu(std::span<const float> x, std::span<float> y);  ///< max(x, 0)

/// erf(x), right to 2e-7 absolute and 3e-7 relative.
void erf(std::span<const float> x, std::span<float> y);
/// x / 2 * (1 + erf(x / sqrt 2)), and the form with tanh(sqrt(2 / pi) * (x + 0.044715 x^3)).
void gelu(std::span<const float> x, std::span<float> y);
void gelu_tanh(std::span<const float> x, std::span<float> y);
void swish(std::span<const float> x, float alpha, std::span<float> y);  ///< x * sigmoid(alpha x)
/// min(max(alpha x + beta, 0), 1), and x times that with 1/6 and 1/2.
void hard_sigmoid(std::span<const float> x, float alpha, float beta, std::span<float> y);
void hard_swish(std::span<const float> x, std::span<float> y);
void leaky_relu(std::span<const float> x, float alpha, std::span<float> y);
/// min(max(x, low), high); `high` wins where they cross.
void clip(std::span<const float> x, float low, float high, std::span<float> y);
void affine(std::span<const float> x, float scale, float shift, std::span<float> y);

void add(std::span<const float> a, std::span<const float> b, std::span<float> y);
void subtract(std::span<const float> a, std::span<const float> b, std::span<float> y);
void multiply(std::span<const float> a, std::span<const float> b, std::span<float> y);
void divide(std::span<const float> a, std::span<const float> b, std::span<float> y);
void add(std::span<const float> a, float b, std::span<float> y);
void multiply(std::span<const float> a, float b, std::span<float> y);
/// y = y + a * b
void multiply_add(std::span<const float> a, std::span<const float> b, std::span<float> y);
/// y = a * (1 - t) + b * t, as b * t + (a - a * t): the last line of a GRU, with t = z, a = n, b =
/// h.
void blend(std::span<const float> a, std::span<const float> b, std::span<const float> t,
           std::span<float> y);

/// The largest of each 2x2 square of lines of `width`, `places` of them side by side; not a number
/// wins. x [2 * lines, width], y [lines, places], places at least 1 and at most width / 2.
void halve_max(std::span<const float> x, size_t width, size_t places, std::span<float> y);

/// Largest element (-infinity for none), and the sum in an order that depends only on the length
/// and on the instruction set.
float max_of(std::span<const float> x);
float sum_of(std::span<const float> x);
/// y = exp(x - shift), and the sum of y; the same order.
float exp_sum(std::span<const float> x, float shift, std::span<float> y);
/// Sum of (x - mean)^2, the same order.
float squares_around(std::span<const float> x, float mean);
/// y = (x - mean) * factor * scale + bias.
void normalize(std::span<const float> x, float mean, float factor, std::span<const float> scale,
               std::span<const float> bias, std::span<float> y);

}  // namespace espalier
