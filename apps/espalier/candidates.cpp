#include "apps/espalier/candidates.h"

#include "apps/espalier/metric_command.h"
#include "lib/base/error.h"
#include "lib/verify/drop_interval.h"
#include "lib/verify/speed.h"

namespace espalier {

namespace fs = std::filesystem;

namespace {

// A trial model, and its data files if it has any.
void remove_all_in(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) fs::remove_all(entry.path());
}

}  // namespace

CandidateMeter::CandidateMeter(const MeterSource& source, const CommonOptions& common,
                               const KernelResults* machine, const std::string& name)
    : source_(source),
      options_{.threads = common.threads},
      folder_(fs::temp_directory_path() / "espalier"),
      dense_(source.dense) {
  if (machine != nullptr)
    predictor_.emplace(source.model, source.evaluation, options_, *machine, name);
}

Meter CandidateMeter::functions() {
  Meter meter;
  meter.bytes = [this](const Model& packed) { return bytes(packed); };
  meter.milliseconds = [this](const Model& packed) { return milliseconds(packed); };
  meter.metric = [this](const Model& packed) { return metric(packed); };
  meter.dense = [this] { return dense(); };
  if (source_.evaluation.labels)
    meter.judged = [this](const Model& packed) { return judged(packed); };
  meter.complete = [this](const Model& packed, CurvePoint& point) { complete(packed, point); };
  return meter;
}

MetricPair CandidateMeter::judged(const Model& packed) {
  const Evaluation& evaluation = source_.evaluation;
  if (dense_outputs_.empty())
    dense_outputs_ = first_outputs(source_.model, source_.model, evaluation, options_);
  return metric_with_interval(
      *evaluation.labels,
      {dense_outputs_, first_outputs(packed, source_.model, evaluation, options_),
       output_names(source_.model).at(0)});
}

void CandidateMeter::complete(const Model& packed, CurvePoint& point) const {
  if (!point.bytes && !source_.output.empty()) point.bytes = bytes(packed);
  if (!point.ms && source_.evaluation.not_run.empty()) point.ms = milliseconds(packed);
}

template <typename Use>
auto CandidateMeter::written(const Model& packed, const Use& use) const {
  const fs::path path = folder_.path() / source_.output.filename();
  write_model(packed, path, source_.write);
  const auto result = use(path);
  remove_all_in(folder_.path());
  return result;
}

uint64_t CandidateMeter::bytes(const Model& packed) const {
  return written(packed, [](const fs::path& path) { return size_on_disk(path); });
}

double CandidateMeter::milliseconds(const Model& packed) const {
  if (!source_.evaluation.not_run.empty())
    throw Error(Fault::kUnsupported, "no time can be measured: " + source_.evaluation.not_run);
  if (predictor_) return predictor_->milliseconds(packed);
  return time_whole(source_.model, packed, source_.model, source_.evaluation, options_).ms_packed;
}

double CandidateMeter::metric(const Model& packed) const {
  if (source_.evaluation.labels) {
    if (!source_.evaluation.not_run.empty())
      throw Error(Fault::kUnsupported, "no metric can be measured: " + source_.evaluation.not_run);
    return labelled_metric_of(packed, source_.model, source_.evaluation, options_);
  }
  if (source_.metric_command.empty())
    throw Error(Fault::kUsage,
                "no metric is given: expected --eval with --labels, or --metric-cmd");
  return written(packed, [&](const fs::path& path) {
    return run_metric_command(source_.metric_command, path);
  });
}

MetricPair CandidateMeter::dense() {
  if (!dense_) {
    const std::optional<LabelledMetric>& labels = source_.evaluation.labels;
    const double value = labels || source_.metric_command.empty()
                             ? metric(source_.model)
                             : run_metric_command(source_.metric_command, source_.input);
    dense_ = MetricPair{labels ? labels->name : "metric-cmd", value, value};
  }
  return *dense_;
}

}  // namespace espalier
