#pragma once

#include <string>
#include <vector>

#include "lib/search/cost_model.h"
#include "lib/search/sample_counter.h"

namespace espalier {

/// Time of a packed model on another machine: its layers by the rows of that machine's measurement,
/// the rest as it was measured here, by the ratio of what the dense layers take there and here.
class TimePredictor {
 public:
  /// Measures `model`. `name`: what errors call the measurement. Errors  for a model that cannot be
  /// run, and Fault::kUnsupported where no layer's time is known.
  TimePredictor(const Model& model, const Evaluation& evaluation, const ExecutorOptions& options,
                KernelResults machine, std::string name);

  /// Errors  as predict().
  double milliseconds(const Model& packed) const;

 private:
  TimeLine line_of(size_t layer, BlockShape block) const;
  double layer_ms(size_t layer, const Weight& weight) const;

  std::string name_;
  KernelResults machine_;
  std::vector<Layer> layers_;
  std::vector<SampleCounter::Seen> seen_;
  double rest_ms_ = 0;
};

}  // namespace espalier
