#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/ops/step_formula.h"

namespace espalier {

/// A step of a GRU, LSTM or RNN as ONNX defines them, in terms of what its StepFormula was given.
struct RecurrentStep {
  /// A part of a constant matrix; scaled, as other spellings of a formula may negate a gate.
  struct Matrix {
    size_t constant = 0;
    ColumnRange outputs, inputs;  ///< of the axes as they are stored
    bool transposed = false;      ///< stored as [outputs, inputs]
    double scale = 1;

    bool operator==(const Matrix&) const = default;
  };
  /// Columns of an input, or elements of a constant, that are added.
  struct Added {
    size_t source = 0;
    ColumnRange columns;
    double scale = 1;

    bool operator==(const Added&) const = default;
  };
  /// What an activation is given: x W + h R + biases + number, or x where it was multiplied before
  /// the loop.
  struct Sum {
    std::optional<size_t> input;  ///< that W multiplies
    std::optional<Matrix> w, r;
    std::vector<Added> x, biases;
    double number = 0;
  };
  struct Activation {
    std::string name;
    double alpha = 0, beta = 0;

    bool operator==(const Activation&) const = default;
  };

  std::string op;
  bool reset_after = false;  ///< of a GRU: linear_before_reset
  size_t h = 0, c = 0;       ///< which of the states
  int64_t hidden = 0;
  std::vector<Sum> gates;   ///< in ONNX's order
  std::optional<Sum> held;  ///< of a GRU with reset_after: what r multiplies, r and biases alone
  std::vector<Activation> activations;
};

/// A state: its number among the formula's inputs, and the value that the next run is given.
struct StepState {
  size_t input = 0;
  ValueId next = kNoValue;
};

/// Compares what the states become with the formulas of ONNX, f and g and h being any of the
/// activations that ONNX names, * elementwise:
///   RNN   h' = f(x W + h R + b)
///   LSTM  c' = f(s_f) * c + f(s_i) * g(s_c), h' = f(s_o) * h(c')
///   GRU   h' = (1 - z) * n + z * h, z = f(s_z), r = f(s_r)
///         n = g(x W_n + (r * h) R_n + b), or with linear_before_reset g(x W_n + b + r * (h R_n + b_r))
/// All spellings of them that are equal as polynomials are found. Nothing for anything else.
std::optional<RecurrentStep> recurrent_step(const StepFormula& formula,
                                            std::span<const StepState> states);

/// The parameters of those activations that have any, as attributes of the operator hold them.
struct ActivationLists {
  std::vector<std::string> names;
  std::vector<float> alpha, beta;
  bool usual = false;  ///< what the operator has without attributes
};
ActivationLists activation_lists(const RecurrentStep& step);

}  // namespace espalier
