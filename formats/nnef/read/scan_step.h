#pragma once

#include <optional>
#include <string>
#include <vector>

#include "formats/nnef/read/call.h"
#include "lib/ops/recurrent_step.h"

namespace espalier::nnef {

/// The lists of a scan's invocation, their names resolved to parameters and results of its body.
struct Scan {
  const Fragment* body = nullptr;
  struct Scanned {
    TensorRef tensor;
    size_t parameter;
  };
  std::vector<Scanned> scanned;
  bool reverse = false;
  struct State {
    TensorRef initial;
    size_t parameter, result;
  };
  std::vector<State> states;
  struct Constant {
    TensorRef value;
    size_t parameter;
  };
  std::vector<Constant> constants;
  struct Output {
    size_t result;
    bool full;
  };
  std::vector<Output> outputs;
};

/// What the body computes. Inputs of the step are the scan's states, then what it scans.
struct ScanStep {
  RecurrentStep step;
  /// The step's constants: those that the scan is given, and what the body makes of them.
  std::vector<TensorRef> constants;
  size_t states = 0;

  const Scan::Scanned& scanned(const Scan& scan, size_t input) const {
    return scan.scanned[input - states];
  }
};

/// Runs the body of the scan in a graph of its own and compares what it computes with the formulas
/// of lib/ops/recurrent_step.h; names and spellings decide nothing. NotTranslated for any other body.
ScanStep step_of(const Call& call, const Scan& scan);

}  // namespace espalier::nnef
