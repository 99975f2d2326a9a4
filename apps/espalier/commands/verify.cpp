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
#include "apps/espalier/weights.h"
#include "formats/format.h"
#include "lib/verify/model_runner.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  DataOptions data;
  Tolerance tolerance;
  std::string a, b;
  std::vector<std::string> passes_off;
};

bool is_number(DType dtype) {
  return is_float(dtype) || (dtype >= DType::kI8 && dtype <= DType::kBool);
}

// Formats disagree on axes of one: a bias is [8] in ONNX and [1, 8] in NNEF.
Shape without_ones(Shape shape) {
  std::erase(shape, 1);
  return shape;
}

WeightDifference compare_weight(const WeightPairs::Pair& pair, Tolerance tolerance) {
  const Weight &a = *pair.a, &b = *pair.b;
  WeightDifference result{pair.name, a.shape()};
  if (a.dtype() != b.dtype() || without_ones(a.shape()) != without_ones(b.shape())) {
    result.max_abs = result.max_rel = std::numeric_limits<double>::quiet_NaN();
    result.ok = false;
    result.note = fmt::format("{} {} in a, {} {} in b", name_of(a.dtype()), to_string(a.shape()),
                              name_of(b.dtype()), to_string(b.shape()));
    return result;
  }
  const Tensor from_a = dense_of(a), from_b = dense_of(b).reshaped(a.shape());
  if (!is_number(a.dtype())) {
    result.ok = same_bits(from_a, from_b);
    return result;
  }
  tolerance.by_type = false;  // weights are stored, not computed: f16 has no excuse
  const Comparison compared =
      compare_outputs({{{pair.name, from_a}}}, {{{pair.name, from_b}}}, tolerance);
  const OutputDifference& d = compared.outputs.front();
  result.max_abs = d.max_abs, result.max_rel = d.max_rel, result.ok = d.ok;
  return result;
}

// Without data nothing is run: weights of the same name are compared. A weight that one model lacks
// is never ok.
void verify_weights(const Args& args, const Model& a, const Model& b, VerifyResults& found) {
  WeightPairs weights = pair_weights(a, b);
  for (const WeightPairs::Pair& pair : weights.pairs)
    found.weights.push_back(compare_weight(pair, args.tolerance));
  found.only_a = std::move(weights.only_a);
  found.only_b = std::move(weights.only_b);
  if (found.weights.empty() && !found.only_a.empty()) {
    throw Error(Fault::kUsage,
                "no weight has the same name in both models: --inputs DATA compares their outputs");
  }
  found.ok = found.only_a.empty() && found.only_b.empty() &&
             std::ranges::all_of(found.weights, &WeightDifference::ok);
}

// b against a, packed b against decoded b, and each model without passes against itself with them,
// feed by feed.
void verify_outputs(const Args& args, const Model& a, const Model& b, VerifyResults& found) {
  const DataSet data = data_set(args.data.inputs, a, args.data);
  const std::vector<Feed> feeds = make_feeds(a, data);
  const std::optional<LabelledMetric> wanted = labelled_metric(args.data);
  const ExecutorOptions options{.threads = args.common.threads,
                                .exact_values = true,  // else rounded inputs would hide a fault
                                .passes = passes_without(args.passes_off)};
  ExecutorOptions decoding = options, plain = options, kernels = options;
  kernels.always_packed = true;  // the kernels are what is verified
  decoding.decode_weights = true;
  plain.passes = PassOptions::none();
  ModelRunner runner_a(a, a, data, options), runner_b(b, a, data, kernels);
  std::optional<ModelRunner> decoded_b;
  if (any_packed(b)) decoded_b.emplace(b, a, data, decoding);
  std::optional<ModelRunner> as_used;  // the metric is that of rounded inputs
  if (wanted && any_int8(b)) {
    as_used.emplace(b, a, data,
                    ExecutorOptions{.threads = options.threads, .passes = options.passes});
  }
  ModelRunner plain_a(a, a, data, plain), plain_b(b, a, data, plain);
  Comparer outputs(args.tolerance), packed(args.tolerance), passes(args.tolerance);
  const std::string first_output = output_names(a).at(0);
  std::vector<Feed> first_a, first_b;
  for (const Feed& feed : feeds) {
    const Feed from_a = runner_a.run(feed), from_b = runner_b.run(feed);
    outputs.add(from_a, from_b);
    if (decoded_b) packed.add(decoded_b->run(feed), from_b);
    passes.add(plain_a.run(feed), from_a);
    passes.add(plain_b.run(feed), from_b);
    if (!wanted) continue;
    first_a.push_back({{first_output, from_a.at(first_output)}});
    first_b.push_back({{first_output, (as_used ? as_used->run(feed) : from_b).at(first_output)}});
  }
  found.samples = feeds.size();
  found.outputs = outputs.result().outputs;
  found.packed = packed.result().outputs;
  found.passes = passes.result().outputs;
  found.ok = outputs.result().ok() && packed.result().ok() && passes.result().ok();
  if (wanted) {
    found.metric =
        MetricPair{wanted->name, metric(wanted->name, first_a, first_output, wanted->labels),
                   metric(wanted->name, first_b, first_output, wanted->labels)};
  }
}

int run(const Args& args) {
  apply_common(args.common);
  const bool has_data = !args.data.inputs.empty();
  if (!has_data && (!args.data.labels.empty() || !args.data.metric.empty()))
    throw Error(Fault::kUsage, "--labels and --metric require --inputs DATA");
  passes_without(args.passes_off);  // a wrong name is told before models are read
  CommandFiles files;
  files.reads_model("A", args.a);
  files.reads_model("B", args.b);
  files.reads(args.data);
  files.writes(args.common);
  const Model a = read_model(args.a), b = read_model(args.b);
  Results results;
  results.command = "verify";
  VerifyResults& found = results.verify.emplace();
  found.a = printable(args.a, 4096);
  found.b = printable(args.b, 4096);
  found.tolerance = args.tolerance;
  if (has_data) {
    verify_outputs(args, runnable(a), runnable(b), found);
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
