#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <limits>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/common_options.h"
#include "apps/espalier/data_options.h"
#include "apps/espalier/options.h"
#include "apps/espalier/run_info.h"
#include "formats/format.h"
#include "lib/ir/named_weights.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/tensor/layout.h"
#include "lib/verify/compare_runs.h"
#include "lib/verify/drop_limit.h"
#include "lib/verify/packing.h"
#include "lib/verify/weight_pairs.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  DataOptions data;
  Tolerance tolerance;
  std::string a, b, max_drop;
  std::vector<std::string> passes_off;
};

bool is_number(DType dtype) {
  return is_float(dtype) || (dtype >= DType::kI8 && dtype <= DType::kBool);
}

void compare_elements(const Tensor& a, const Tensor& b, Tolerance tolerance,
                      WeightDifference& result) {
  tolerance.by_type = false;  // weights are stored, not computed: f16 has no excuse
  const Comparison compared = compare_outputs({{{"", a}}}, {{{"", b}}}, tolerance);
  const OutputDifference& d = compared.outputs.front();
  result.max_abs = d.max_abs, result.max_rel = d.max_rel, result.ok = d.ok;
}

// Elements of one pair as dense tensors laid out alike; a note where type or shape does not allow
// that.
WeightDifference compare_weight(const WeightPairs::Pair& pair, Tolerance tolerance) {
  const Weight &a = *pair.a, &b = *pair.b;
  WeightDifference result{pair.name, a.shape()};
  const std::optional<Tensor> from_b = as_in_a(pair);
  if (a.dtype() != b.dtype() || !from_b) {
    result.max_abs = result.max_rel = std::numeric_limits<double>::quiet_NaN();
    result.ok = false;
    result.note = fmt::format("{} {} in a, {} {} in b", name_of(a.dtype()), to_string(a.shape()),
                              name_of(b.dtype()), to_string(b.shape()));
    return result;
  }
  const Tensor from_a = dense_of(a);
  if (!is_number(a.dtype())) {
    result.ok = same_bits(from_a, *from_b);
    return result;
  }
  compare_elements(from_a, *from_b, tolerance, result);
  // The shape of a square one that no operator multiplies by does not tell.
  const bool known = pair.outputs_a && pair.outputs_b;
  if (!result.ok && pair.other_format && !known && is_turned(a.shape(), a.shape())) {
    WeightDifference other = result;
    compare_elements(from_a, with_axes_exchanged(*from_b, 0, 1), tolerance, other);
    if (other.ok) result = other;
  }
  return result;
}

// Without data nothing is run: weights of the same name are compared. A weight that one model lacks
// is never ok.
void verify_weights(const Args& args, const Model& a, const Model& b, VerifyResults& found) {
  WeightPairs weights = pair_weights(a, b, literals_are_named(a) && literals_are_named(b));
  for (const WeightPairs::Pair& pair : weights.pairs) {
    found.weights.push_back(compare_weight(pair, args.tolerance));
    pair.a->give_back();
    pair.b->give_back();
  }
  for (const auto& [name, weight] : weights.only_a) found.only_a.push_back(name);
  for (const auto& [name, weight] : weights.only_b) found.only_b.push_back(name);
  if (found.weights.empty() && !found.only_a.empty()) {
    throw Error(Fault::kUsage,
                "no weight has the same name in both models: --inputs DATA compares their outputs");
  }
  found.ok = found.only_a.empty() && found.only_b.empty() &&
             std::ranges::all_of(found.weights, &WeightDifference::ok);
}

void verify_outputs(const Args& args, const Model& a, const Model& b, VerifyResults& found) {
  const Evaluation evaluation =
      read_evaluation(a, {.path = args.data.inputs}, args.data, args.common);
  const ModelComparison compared =
      compare_runs(a, b, evaluation, args.tolerance,
                   {.threads = args.common.threads, .passes = passes_without(args.passes_off)});
  found.samples = evaluation.feeds.size();
  found.outputs = compared.outputs.outputs;
  found.packed = compared.packed.outputs;
  found.passes = compared.passes.outputs;
  found.ok = compared.outputs.ok() && compared.packed.ok() && compared.passes.ok();
  found.metric = compared.metric;
}

// --max-drop in place of the tolerance; packing, kernels and passes are held to rounding all the
// same.
void judge_by_metric(const DropLimit& limit, VerifyResults& found,
                     std::vector<std::string>& notes) {
  const MetricPair& metric = *found.metric;
  check_bare_drop(limit, metric.name, metric.a, "--max-drop");
  const bool kept = within(limit, metric);
  const auto all_ok = [](const std::vector<OutputDifference>& outputs) {
    return std::ranges::all_of(outputs, &OutputDifference::ok);
  };
  found.ok = kept && all_ok(found.packed) && all_ok(found.passes);
  notes.push_back(
      fmt::format("judged by --max-drop {} instead of the tolerance: {} lost {:.6g}, {} than the "
                  "{:.6g} allowed",
                  limit.text, metric.name, metric_drop(metric.name, metric.a, metric.b),
                  kept ? "no more" : "more", allowed_drop(limit, metric.a)));
}

std::optional<DropLimit> limit_of(const Args& args) {
  if (args.max_drop.empty()) return std::nullopt;
  if (args.data.labels.empty())
    throw Error(Fault::kUsage, "--max-drop requires a metric: --inputs with --labels");
  const PruneTarget target = parse_max_drop(args.max_drop);
  return DropLimit{target.value, target.share, args.max_drop};
}

// Compares outputs where data are given, else weights.
int run(const Args& args) {
  apply_common(args.common);
  const bool has_data = !args.data.inputs.empty();
  if (!has_data && (!args.data.labels.empty() || !args.data.metric.empty()))
    throw Error(Fault::kUsage, "--labels and --metric require --inputs DATA");
  const std::optional<DropLimit> limit = limit_of(args);
  passes_without(args.passes_off);  // a wrong name is told before models are read
  CommandFiles files;
  files.reads_model("A", args.a);
  files.reads_model("B", args.b);
  files.reads(args.data);
  files.writes(args.common);
  check_data_options(args.data);
  const Model a = read_model(args.a), b = read_model(args.b);
  Results results;
  results.command = "verify";
  results.run = run_info(files, args.common);
  VerifyResults& found = results.verify.emplace();
  found.a = printable(args.a, 4096);
  found.b = printable(args.b, 4096);
  found.tolerance = args.tolerance;
  if (has_data) {
    verify_outputs(args, runnable(a), runnable(b), found);
    if (limit) judge_by_metric(*limit, found, results.notes);
  } else {
    verify_weights(args, a, b, found);
  }
  emit(results, args.common);
  return found.ok ? kDone : kOutOfTolerance;
}

std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("A", args->a, "reference model")->required();
  app.add_option("B", args->b, "model to compare with A")->required();
  add_tolerance(app, args->tolerance);
  add_pass_options(app, args->passes_off);
  add_data_options(app, args->data,
                   "inputs to run both models on (without them weights are compared)");
  add_metric_options(app, args->data, false);
  app.add_option(
         "--max-drop", args->max_drop,
         "judge by the metric instead of the tolerance: status 3 if it loses more than D, or "
         "than P percent of its value")
      ->type_name("D or P%")
      ->group("Data");
  add_common(app, args->common);
  add_footer(app,
             "  espalier verify model.onnx packed.nnef.tgz --inputs test_data_set_0\n"
             "  espalier verify model.onnx packed.onnx");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command verify_command{
    "verify", "check that B computes what A computes, and packed B what decoded B computes", add};

}  // namespace espalier
