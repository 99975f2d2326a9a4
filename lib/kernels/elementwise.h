#pragma once

#include <cstddef>
#include <span>

namespace espalier {

/// Functions of every element, on the calling thread, by the instruction set in use. y is as long
/// as the inputs (another length is a bug) and may be one of them, but not overlap them otherwise.
/// Not a number in, not a number out.
///
/// exp, sigmoid and tanh differ by at most 1e-6 relative from the exact value, or 1e-37 absolute
/// where that is smaller (subnormal results may be flushed to zero).
void exp(std::span<const float> x, std::span<float> y);
void sigmoid(std::span<const float> x, std::span<float> y);
void tanh(std::span<const float> x, std::span<float> y);
void relu(std::span<const float> x, std::span<float> y);  ///< max(x, 0)

void add(std::span<const float> a, std::span<const float> b, std::span<float> y);
void subtract(std::span<const float> a, std::span<const float> b, std::span<float> y);
void multiply(std::span<const float> a, std::span<const float> b, std::span<float> y);
void add(std::span<const float> a, float b, std::span<float> y);
void multiply(std::span<const float> a, float b, std::span<float> y);
/// y = y + a * b
void multiply_add(std::span<const float> a, std::span<const float> b, std::span<float> y);
/// y = a * (1 - t) + b * t, as b * t + (a - a * t): the last line of a GRU, with t = z, a = n, b =
/// h.
void blend(std::span<const float> a, std::span<const float> b, std::span<const float> t,
           std::span<float> y);

/// Largest element (-infinity for none), and the sum in an order that depends only on the length
/// and on the instruction set.
float max_of(std::span<const float> x);
float sum_of(std::span<const float> x);

}  // namespace espalier
