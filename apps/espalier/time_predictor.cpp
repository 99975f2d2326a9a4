#include "apps/espalier/time_predictor.h"

#include <algorithm>

#include "lib/base/error.h"

namespace espalier {

SampleCounter::SampleCounter(const Model& model, const std::vector<Layer>& layers)
    : seen_(layers.size()) {
  for (const Layer& layer : layers) weights_.push_back(&weight_of(model, layer));
}

std::optional<size_t> SampleCounter::watch(const Weight& weight) const {
  const auto found = std::ranges::find(weights_, &weight);
  if (found == weights_.end()) return std::nullopt;
  return static_cast<size_t>(found - weights_.begin());
}

void SampleCounter::see(size_t number, size_t first, size_t, const float*, Features, size_t,
                        size_t n) {
  seen_[number].n = std::max(seen_[number].n, n);
  if (first == 0) ++seen_[number].products;
}

void add_layers(PackJob& job) {
  for (const Layer& layer : select_layers(job.before, {})) {
    if (stored_weight(job.before, layer) == nullptr) continue;
    const Weight& weight = weight_of(job.before, layer);
    job.layers.push_back(layer);
    job.rows.push_back(layer_row(layer, weight, weight));
  }
}

SampleCounter count_samples(const PackJob& job, const CheckInputs& inputs,
                            const ExecutorOptions& options) {
  SampleCounter counter(job.before, job.layers);
  ExecutorOptions observed = options;
  observed.observer = &counter;
  ModelRunner(job.before, job.before, inputs.data, observed).run(inputs.feeds.front());
  return counter;
}

TimePredictor::TimePredictor(const PackJob& job, const CheckInputs& inputs,
                             const ExecutorOptions& options, std::string file)
    : file_(std::move(file)), machine_(read_machine(file_)) {
  if (!inputs.not_run.empty())
    throw Error(Fault::kUnsupported, "no time can be measured: " + inputs.not_run);
  PackJob dense = job;
  dense.masked = dense.packed = dense.before;
  dense.layers.clear();
  dense.rows.clear();
  add_layers(dense);
  layers_ = dense.layers;
  const SampleCounter counter = count_samples(dense, inputs, options);
  const SpeedChecks here = measure_speed(dense, inputs, options);
  double layers_here = 0, layers_there = 0;
  for (size_t i = 0; i < layers_.size(); ++i) {
    seen_.push_back(counter.of(i));
    layers_here += here.layer_dense[i].value_or(0);
    layers_there += layer_ms(i, weight_of(dense.before, layers_[i]));
  }
  if (!(layers_here > 0) || !(layers_there > 0))
    throw Error(Fault::kUnsupported, "no layer's time is known, so nothing can be predicted");
  rest_ms_ = std::max(here.ms_dense - layers_here, 0.0) * layers_there / layers_here;
}

TimeLine TimePredictor::line_of(size_t layer, BlockShape block) const {
  const Fold& fold = layers_[layer].fold;
  try {
    return predict(machine_, block, fold.parts * fold.rows, fold.cols, seen_[layer].n);
  } catch (Error& error) {
    error.add_context(printable(file_, 4096));
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
