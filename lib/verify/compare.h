#pragma once

#include <string>
#include <vector>

#include "lib/verify/data.h"

namespace espalier {

struct Tolerance {
  double abs = 1e-4, rel = 1e-4;
  /// f16 and bf16 hold fewer digits than that: they get their own tolerance. False where the user
  /// named a number, which then holds for every type.
  bool by_type = true;

  /// What an output of that type is judged by: f16 and bf16 four steps at 1 (2^-8 and 2^-5).
  Tolerance of(DType dtype) const;
};

/// How far two outputs lie apart over all feeds. An element is out of tolerance where |a - b| > abs
/// + rel * |a|, or only one is NaN.
struct OutputDifference {
  std::string name;
  double max_abs = 0, max_rel = 0;  ///< max_rel: max |a - b| over the largest |a| of that output
  double relative_error = 0;        ///< root of sum (a - b)^2 over sum a^2
  double cosine = 1;
  bool ok = true;
  DType dtype = DType::kUnknown;
  Tolerance tolerance = {};  ///< that it was judged by
  std::string note;          ///< where the shapes or types differ: how; the numbers are NaN then
};

struct Comparison {
  size_t samples = 0;
  std::vector<OutputDifference> outputs;
  bool ok() const;
  double max_rel() const;  ///< of the worst output; NaN where one could not be compared
};

/// Whether two results differ by rounding alone: each output element by element within the default
/// tolerance, or by no more than its share of the output's largest element.
bool equal_to_rounding(const Comparison& comparison);

/// Takes in pairs of outputs one after another.
class Comparer {
 public:
  explicit Comparer(Tolerance tolerance) : tolerance_(tolerance) {}
  /// Every output of `a` against the one of that name in `b`; one that `b` lacks is out of
  /// tolerance.
  void add(const Feed& a, const Feed& b);
  Comparison result() const;

 private:
  struct Sums {
    std::string name, note;
    DType dtype = DType::kUnknown;
    double max_abs = 0, largest = 0, aa = 0, bb = 0, ab = 0, dd = 0;
    bool ok = true;
  };
  void add_tensor(Sums& sums, const Tensor& a, const Tensor& b) const;

  Tolerance tolerance_;
  size_t samples_ = 0;
  std::vector<Sums> sums_;
};

/// Runs both models (same input and output names, else by position) over the feeds, which are named
/// as in `a`, and compares outputs.
Comparison compare_models(const Model& a, const Model& b, const DataSet& data,
                          const std::vector<Feed>& feeds, Tolerance tolerance,
                          const ExecutorOptions& options_a, const ExecutorOptions& options_b);
Comparison compare_outputs(const std::vector<Feed>& a, const std::vector<Feed>& b,
                           Tolerance tolerance);

}  // namespace espalier
