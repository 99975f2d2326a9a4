#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "apps/espalier/common_options.h"
#include "formats/format.h"
#include "lib/base/temporaries.h"
#include "lib/search/target.h"
#include "lib/search/time_predictor.h"

namespace espalier {

/// What a CandidateMeter measures with. All of it outlives the meter.
struct MeterSource {
  const Model& model;  ///< before pruning
  std::filesystem::path input, output;
  const WriteOptions& write;
  const Evaluation& evaluation;
  std::string metric_command;
  std::optional<MetricPair> dense = {};  ///< of the input, where it is known
};

/// What models would be if they were written: their file, their time, their metric.
class CandidateMeter {
 public:
  /// `machine`: the measurement of another machine by which times are predicted, as `name` calls
  /// it; null to measure here.
  CandidateMeter(const MeterSource& source, const CommonOptions& common,
                 const KernelResults* machine, const std::string& name);
  CandidateMeter(const CandidateMeter&) = delete;
  CandidateMeter& operator=(const CandidateMeter&) = delete;

  /// The functions of a search, which are valid while the object lives:
  /// bytes  size of the file or folder that the output would be;
  /// milliseconds  median of interleaved runs with the dense model, on the first feed, or what is
  ///               predicted;
  /// complete  both of these, where OUT has a name and the model runs;
  /// metric  that of --labels, else the number of --metric-cmd; dense: that of the input, once;
  /// judged  there with --labels alone.
  Meter functions();

 private:
  uint64_t bytes(const Model& packed) const;
  void complete(const Model& packed, CurvePoint& point) const;
  double milliseconds(const Model& packed) const;
  double metric(const Model& packed) const;
  MetricPair dense();
  MetricPair judged(const Model& packed);
  /// `use` on the file that the model is written to meanwhile.
  template <typename Use>
  auto written(const Model& packed, const Use& use) const;

  MeterSource source_;
  ExecutorOptions options_;
  std::optional<TimePredictor> predictor_;
  HeldFolder folder_;
  std::optional<MetricPair> dense_;
  std::vector<Feed> dense_outputs_;  ///< where judged() was called
};

}  // namespace espalier
