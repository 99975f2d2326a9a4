#include "lib/verify/compare_runs.h"

#include "lib/base/log.h"
#include "lib/ir/named_weights.h"
#include "lib/verify/drop_interval.h"
#include "lib/verify/model_runner.h"

namespace espalier {

// Runs all variants feed by feed, so that only one set of outputs is held at a time.
ModelComparison compare_runs(const Model& a, const Model& b, const Evaluation& evaluation,
                             Tolerance tolerance, const ExecutorOptions& options) {
  ExecutorOptions exact = options;
  exact.exact_values = true;  // else rounded inputs would hide a fault
  ExecutorOptions decoding = exact, plain = exact, kernels = exact;
  kernels.always_packed = true;  // the kernels are what is verified
  decoding.decode_weights = true;
  plain.passes = PassOptions::none();
  const DataSet& data = evaluation.data;
  ModelRunner runner_a(a, a, data, exact), runner_b(b, a, data, kernels);
  std::optional<ModelRunner> decoded_b, as_used;
  if (any_packed(b)) decoded_b.emplace(b, a, data, decoding);
  if (evaluation.labels && any_int8(b)) as_used.emplace(b, a, data, options);
  ModelRunner plain_a(a, a, data, plain), plain_b(b, a, data, plain);
  Comparer outputs(tolerance), packed(tolerance), passes(tolerance);
  std::vector<Feed> first_a, first_b;
  Progress progress("verify", evaluation.feeds.size());
  for (const Feed& feed : evaluation.feeds) {
    const Feed from_a = runner_a.run(feed), from_b = runner_b.run(feed);
    outputs.add(from_a, from_b);
    if (decoded_b) packed.add(decoded_b->run(feed), from_b);
    passes.add(plain_a.run(feed), from_a);
    passes.add(plain_b.run(feed), from_b);
    if (evaluation.labels) {
      first_a.push_back(only_first_output(from_a, a));
      first_b.push_back(only_first_output(as_used ? as_used->run(feed) : from_b, a));
    }
    progress.step();
  }
  ModelComparison result{outputs.result(), packed.result(), passes.result(), std::nullopt};
  if (evaluation.labels) {
    result.metric =
        metric_with_interval(*evaluation.labels, {first_a, first_b, output_names(a).at(0)});
  }
  return result;
}

}  // namespace espalier
