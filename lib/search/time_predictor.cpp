#include "lib/search/time_predictor.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/verify/speed.h"

namespace espalier {

TimePredictor::TimePredictor(const Model& model, const Evaluation& evaluation,
                             const ExecutorOptions& options, KernelResults machine,
                             std::string name)
    : name_(std::move(name)), machine_(std::move(machine)) {
  if (!evaluation.not_run.empty())
    throw Error(Fault::kUnsupported, "no time can be measured: " + evaluation.not_run);
  const PackedModels dense = unpruned(model);
  layers_ = dense.layers;
  const SampleCounter counter = count_samples(dense, evaluation, options);
  const SpeedChecks here = measure_speed(dense, evaluation, options);
  double layers_here = 0, layers_there = 0;
  for (size_t i = 0; i < layers_.size(); ++i) {
    seen_.push_back(counter.of(i));
    layers_here += here.layer_dense[i].value_or(0);
    layers_there += layer_ms(i, weight_of(dense.before, layers_[i]));
  }
  if (!(layers_here > 0) || !(layers_there > 0))
    throw Error(Fault::kUnsupported, "no layer's time is known, so nothing can be predicted");
  rest_ms_ = here.rest_dense * layers_there / layers_here;
}

TimeLine TimePredictor::line_of(size_t layer, BlockShape block) const {
  const Fold& fold = layers_[layer].fold;
  try {
    return predict(machine_, block, fold.parts * fold.rows, fold.cols, seen_[layer].n);
  } catch (Error& error) {
    error.add_context(printable(name_, 4096));
    throw;
  }
}

// Dense weights are timed beside any block: the measurement's first.
double TimePredictor::layer_ms(size_t layer, const Weight& weight) const {
  const SampleCounter::Seen& seen = seen_[layer];
  if (!layers_[layer].left_out.empty() || seen.products == 0) return 0;
  const BlockShape block = weight.is_sparse() ? weight.sparse().block
                                              : parse_block_shape(machine_.kernels.front().block);
  const TimeLine line = line_of(layer, block);
  const double ms = weight.is_sparse()
                        ? std::min(line.packed(1 - density(weight.sparse())), line.dense)
                        : line.dense;
  return ms * static_cast<double>(seen.products);
}

double TimePredictor::milliseconds(const Model& packed) const {
  double sum = rest_ms_;
  for (size_t i = 0; i < layers_.size(); ++i) sum += layer_ms(i, weight_of(packed, layers_[i]));
  return sum;
}

}  // namespace espalier
