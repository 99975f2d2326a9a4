#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/report/report.h"
#include "lib/verify/compare.h"
#include "lib/verify/machine.h"
#include "lib/verify/metric.h"
#include "lib/verify/timing.h"

namespace espalier {

struct FileInfo {
  std::string file, format;
  std::optional<uint64_t> bytes;  ///< nothing where it was not written
};

/// How a report came about: what a reader needs to get the same numbers again.
struct RunInfo {
  std::string version, commit, command, date;
  uint64_t seed = 0;
  Machine machine;
  std::vector<std::pair<std::string, std::string>> libraries;  ///< name, version
  /// Of the first model and of all data that were read; "" = there was none.
  std::string model_sha256, data_sha256;
};

/// One prunable weight: before, after, and what its node did in the run. `left_out` is why it was
/// not looked at; empty where it was.
struct LayerResult {
  std::string name, weight, op, type, block;
  std::string values;   ///< type of what is stored of it; "" = not told
  std::string node;     ///< that reads it; "" = it has no name
  std::string pattern;  ///< what paper shows for block: also "2:4"; "" = block
  Shape shape;
  size_t matrix_rows = 0, matrix_cols = 0;  ///< all parts stacked
  size_t weights = 0;
  double zeros = 0;  ///< share; a diagonal kept apart does not count
  size_t blocks = 0, blocks_kept = 0, diagonal = 0;
  uint64_t bytes_before = 0, bytes_after = 0;
  std::optional<double> output_error, ms_dense, ms_sparse;
  std::optional<double> magnitude_error;  ///< output_error with plain magnitude's weights
  std::string method_used;                ///< of choosing blocks; "" = none was
  std::optional<double>
      obs_multiply_adds;  ///< that obs would have taken, where the default gave way
  std::string left_out;
};

/// One sparsity of all that were tried; what was not measured is nothing.
struct CurvePoint {
  double sparsity = 0;
  std::optional<double> metric, magnitude, ms;  ///< magnitude: the metric of plain magnitude
  std::optional<uint64_t> bytes;
  std::string values = {};  ///< stored types where they were chosen: "3 i8, 1 f16"; else ""
  std::optional<double> drop_low = {}, drop_high = {};  ///< MetricPair, where it was asked for
};

struct TensorInfo {
  std::string name, type;
  std::optional<Shape> shape;
  std::vector<std::string> dimension_names;  ///< as long as the shape or empty; "" = no name
};

/// espalier inspect
struct InspectResults {
  FileInfo file;
  std::string version, producer;                        ///< empty where the file does not say
  std::vector<std::pair<std::string, int64_t>> opsets;  ///< domain -> version
  uint64_t parameters = 0;              ///< elements of all floating-point constants
  std::optional<double> multiply_adds;  ///< of weights in one run with inputs of `run_inputs`
  std::map<std::string, Shape> run_inputs;
  std::string not_run;  ///< why multiply-adds were not counted
  /// Weights that can be pruned, by size next to the root mean square of their tensor: upper limit
  /// of a group (nothing: none) and its share of them.
  std::vector<std::pair<std::optional<double>, double>> magnitudes;
  std::vector<std::pair<std::string, size_t>> operators;
  std::vector<TensorInfo> inputs, outputs;
  std::vector<LayerResult> layers;
  /// Constants of rank 2 and more that are no layers, and why.
  struct OtherConstant {
    std::string weight, node, op;
    Shape shape;
    std::string type, reason;
  };
  std::vector<OtherConstant> other_constants;
};

/// Time of the whole model, decoded and packed.
struct PackSpeed {
  double dense_ms = 0, packed_ms = 0, spread = 0;
  size_t threads = 1, runs = 0;
};

/// prune, convert and mask apply
struct PackResults {
  FileInfo input, output;
  std::vector<std::pair<std::string, Cell>> options;
  std::vector<LayerResult> layers;
  std::optional<MetricPair> metric;
  std::optional<PackSpeed> speed;
  std::vector<CurvePoint> curve;
  std::optional<double> metric_limit;      ///< the worst that a target allows
  std::optional<double> reached_sparsity;  ///< of the curve's points the one that was written
  std::string reached_values;              ///< and its CurvePoint::values
  std::vector<MaskPicture> masks;
};

struct WeightDifference {
  std::string name;
  Shape shape;
  double max_abs = 0, max_rel = 0;
  bool ok = true;
  std::string note = {};  ///< where types or shapes differ: how
};

/// espalier verify, and run --check (`a` is then the stored outputs)
struct VerifyResults {
  std::string a, b;
  size_t samples = 0;
  bool ok = true;
  Tolerance tolerance;
  std::vector<OutputDifference> outputs;
  std::vector<WeightDifference> weights;    ///< compared where there is no data
  std::vector<std::string> only_a, only_b;  ///< weights that the other model lacks
  std::vector<OutputDifference> packed;     ///< packed b against decoded b; empty: b is dense
  std::vector<OutputDifference> passes;     ///< a and b with passes over the graph against without
  std::optional<MetricPair> metric;
};

struct OperatorTime {
  std::string op, name;
  double ms = 0, share = 0;  ///< of one run
};

struct BenchModel {
  std::string file;
  std::string runtime = "espalier";  ///< or another, with its version
  std::map<std::string, Shape> inputs;
  Timing timing;
  std::optional<uint64_t> peak_bytes;  ///< nothing for another runtime
  double speedup = 1;
  std::vector<std::string> ran_dense = {};  ///< packed weights, by name
  std::vector<OperatorTime> operators;      ///< --profile-ops
};

/// espalier bench
struct BenchResults {
  Machine machine;
  double interval_ms = 0;
  std::vector<BenchModel> models;
};

struct KernelResult {
  std::string kernel, block, dtype;
  size_t m = 0, k = 0, n = 0;
  double sparsity = 0;
  size_t threads = 1;
  double gflops_nonzero = 0, speedup_vs_dense = 0;
  /// Time that the machine's limits leave at least, over the time it took: multiply-adds at their
  /// peak, or the weight read once from the level that holds it, whichever is more ("fma", "read").
  double share_of_limit = 0;
  std::string limit = {};
};

/// espalier bench --kernels
struct KernelResults {
  Machine machine;
  double peak_gflops = 0;  ///< f32 multiply-adds, all threads
  std::vector<KernelResult> kernels;
};

/// Time of a layer, or of the model, dense and packed in one block shape; `break_even` is the least
/// share of zeros from which on packed is quicker, nothing where it never is.
struct AdviseRow {
  std::string name, node, weight, block;
  Shape matrix;
  size_t n = 0;  ///< samples of a product
  std::optional<double> break_even, ms_dense, ms_packed_80, ms_packed_90;
  bool worth = false;
  std::string left_out;
};

/// espalier advise
struct AdviseResults {
  Machine machine;
  bool measured_here = true, random_inputs = false;
  std::map<std::string, Shape> inputs;  ///< of the one run that was timed
  AdviseRow model;                      ///< in the best block
  std::vector<AdviseRow> blocks;        ///< the model in each block
  std::vector<AdviseRow> layers;        ///< each in its best block
};

/// One cell of the grid of a sweep; what was not measured is nothing.
struct SweepPoint {
  std::string method, block, values;  ///< values: "" = the weights' own type
  std::string effort;                 ///< "" = the grid has one effort
  double sparsity = 0;                ///< asked for
  std::string file, sha256;
  uint64_t bytes = 0;
  double zeros = 0;
  std::optional<double> output_error, metric, median_ms, speedup;
  bool pareto = false;
};

/// espalier sweep. `dense` is the input, `int8` its weights in i8 with inputs rounded as they come,
/// nothing pruned.
struct SweepResults {
  struct Reference {
    std::string file;
    uint64_t bytes = 0;
    std::optional<double> median_ms, metric;
  };
  std::string model, metric;  ///< metric: its name, "" = none
  Reference dense;
  std::optional<Reference> int8;
  std::vector<SweepPoint> points;  ///< in the order of the grid
  size_t missing = 0;              ///< points of the grid that other shards have
  std::optional<size_t> picked;
};

struct DiffWeight {
  std::string name, state;  ///< same, values, shape, type, only in a, only in b
  std::optional<Shape> shape_a, shape_b;
  std::optional<double> max_abs, zeros_a, zeros_b;
  std::optional<uint64_t> bytes_a, bytes_b;
};

/// espalier diff, and mask diff
struct DiffResults {
  FileInfo a, b;
  std::vector<std::pair<std::string, std::pair<size_t, size_t>>> operators;  ///< that differ
  std::vector<DiffWeight> weights;
  size_t same_weights = 0;
  bool same_structure = true;
};

struct MaskResult {
  std::string weight;
  Shape shape;
  std::optional<double> kept_a, kept_b;
  size_t differ = 0;
  std::optional<double> kept_out = {};  ///< of a mask made of both
};

/// espalier mask
struct MaskResults {
  std::string a, b;  ///< b is empty where there is one file only
  std::vector<MaskResult> masks;
};

/// A weight's inputs during calibration: `groups` that its parts share, of `inputs` elements each;
/// `samples` of the group that was seen least.
struct CalibratedLayer {
  std::string weight, node;
  size_t groups = 0, inputs = 0;
  uint64_t samples = 0;
  std::string left_out;
};

/// espalier calibrate
struct CalibrateResults {
  std::string model, output;  ///< no model where files were merged
  size_t feeds = 0;
  std::vector<CalibratedLayer> layers;
};

/// What a command found. A section shows what is there.
struct Results {
  std::string command;
  std::optional<RunInfo> run;
  std::optional<InspectResults> inspect;
  std::optional<PackResults> pack;
  std::optional<VerifyResults> verify;
  std::optional<BenchResults> bench;
  std::optional<KernelResults> kernels;
  std::optional<AdviseResults> advise;
  std::optional<SweepResults> sweep;
  std::optional<DiffResults> diff;
  std::optional<MaskResults> masks;
  std::optional<CalibrateResults> calibrate;
  std::vector<Verdict> verdicts;  ///< of pack
  std::vector<std::string> notes;
};

}  // namespace espalier
