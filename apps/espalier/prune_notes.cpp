#include "apps/espalier/prune_notes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "lib/base/log.h"
#include "lib/prune/choose/default_method.h"
#include "lib/prune/options/layer_rule.h"

namespace espalier {
namespace {

std::string counted(size_t count, std::string_view what) {
  return count == 1 ? fmt::format("one {}", what) : fmt::format("{} {}s", count, what);
}

std::string target_note(const PruneTarget& target, const CurvePoint& reached,
                        const std::optional<MetricPair>& dense) {
  const double percent = 100 * reached.sparsity;
  switch (target.kind) {
    case PruneTarget::Kind::kSize:
      return fmt::format("--target-size {}: {:.1f} % sparsity gives {}",
                         format_bytes(static_cast<uint64_t>(target.value)), percent,
                         format_bytes(*reached.bytes));
    case PruneTarget::Kind::kLatency:
      return fmt::format("--target-latency {} ms: {:.1f} % sparsity gives {} ms",
                         format_number(target.value), percent, format_number(*reached.ms));
    case PruneTarget::Kind::kDrop:
      break;
  }
  std::string text =
      fmt::format("--max-drop {}: {:.1f} % sparsity keeps {} at {:.6g} of {:.6g}",
                  to_string(target), percent, printable(dense->name), *reached.metric, dense->a);
  if (reached.drop_high) {
    text += fmt::format(", drop {} [{}, {}]",
                        format_number(metric_drop(dense->name, dense->a, *reached.metric)),
                        format_number(*reached.drop_low), format_number(*reached.drop_high));
  }
  return text;
}

// What a file of statistics cannot do; "" where it does what its inputs would.
std::string statistics_note(const PruneSettings& settings) {
  const CalibrationSource& calib = settings.calib;
  if (calib.kind != CalibrationSource::Kind::kStatistics || calib.has_all_inputs()) return "";
  const KeptInputs& kept = calib.file->inputs;
  const std::string file = printable(calib.path);
  if (kept.feeds.empty()) {
    return fmt::format(
        "{} keeps no inputs to run the model on: blocks were chosen by scope {} and all layers at "
        "once, where --calib DATA chooses by what the outputs lose (calibrate --keep-inputs BYTES)",
        file, settings.request.options.scope);
  }
  return fmt::format(
      "{} keeps {} of {} feeds: outputs were looked at on these alone, and all layers were pruned "
      "at once; --calib DATA may choose otherwise (calibrate --keep-inputs BYTES)",
      file, kept.feeds.size(), kept.of);
}

std::string data_note(const PruneSettings& settings, size_t calib_feeds,
                      const Evaluation& evaluation) {
  std::string text;
  switch (settings.calib.kind) {
    case CalibrationSource::Kind::kInputs:
      text = fmt::format("blocks were chosen by {} ({})", printable(settings.calib.path),
                         counted(calib_feeds, "feed"));
      break;
    case CalibrationSource::Kind::kStatistics:
      text = fmt::format("blocks were chosen by the statistics {}", printable(settings.calib.path));
      break;
    case CalibrationSource::Kind::kNone:
      text = "blocks were chosen without data";
  }
  if (!evaluation.labels) return text + "; --metric-cmd chose the sparsity and judged it";
  return text + fmt::format("; the metric of {} ({}) chose the sparsity and judged it",
                            printable(settings.evaluation.path),
                            counted(evaluation.feeds.size(), "feed"));
}

// Layers that are too wide for the default method.
void add_method_notes(const PrunePlan& plan, std::vector<std::string>& notes) {
  std::map<std::string, std::pair<size_t, double>> others;  // layers, the most that obs would take
  for (const LayerPlan& layer : plan.layers) {
    if (layer.obs_multiply_adds == 0) continue;
    auto& [count, most] = others[layer.method];
    ++count;
    most = std::max(most, layer.obs_multiply_adds);
  }
  for (const auto& [method, found] : others) {
    notes.push_back(
        fmt::format("{} {} pruned by {}: obs takes up to {:.2g} multiply-adds for one, by default "
                    "at most {:.2g} "
                    "are spent (--method obs takes any number)",
                    found.first, found.first == 1 ? "layer was" : "layers were", method,
                    found.second, kMostMultiplyAdds));
  }
}

std::string order_note(const OrderChoice& order) {
  return fmt::format(
      "layers were pruned {}: on {} held apart the outputs then change by {:.3g}, {} by "
      "{:.3g}",
      order.in_order ? "one after the other, for the inputs that pruned layers before them leave"
                     : "all at once",
      counted(order.feeds, "feed"), order.in_order ? order.in_turn : order.at_once,
      order.in_order ? "all at once" : "one after the other",
      order.in_order ? order.at_once : order.in_turn);
}

// What other drops would have given.
std::string at_drops_note(const PruneResult& result) {
  std::string text;
  for (const auto& [share, point] : result.at_drops) {
    text += fmt::format("{}{:g} % {:.1f} % sparsity", text.empty() ? "" : ", ", 100 * share,
                        100 * point.sparsity);
    if (point.bytes) text += fmt::format(" ({})", format_bytes(*point.bytes));
  }
  return "the trials that would have done for other drops: " + text;
}

}  // namespace

std::vector<std::string> prune_notes(const PruneSettings& settings, const PruneResult& result,
                                     size_t calib_feeds, const Evaluation& evaluation) {
  std::vector<std::string> notes;
  if (result.reached)
    notes.push_back(target_note(*settings.request.options.target, *result.reached, result.dense));
  if (result.dense) notes.push_back(data_note(settings, calib_feeds, evaluation));
  if (std::string note = statistics_note(settings); !note.empty()) notes.push_back(std::move(note));
  if (!result.at_drops.empty()) notes.push_back(at_drops_note(result));
  if (result.type_feeds > 0) {
    notes.push_back(
        fmt::format("--values auto: {}, by how far each layer in i8 moves the outputs of {}",
                    result.reached->values, counted(result.type_feeds, "feed")));
  }
  if (settings.machine) {
    notes.push_back(fmt::format("these times are predicted for the machine of {}, not measured",
                                printable(settings.machine_file)));
  }
  if (!settings.rewind.empty()) {
    notes.push_back(fmt::format("masks chosen in {}, weights of {}", printable(settings.input),
                                printable(settings.rewind)));
  }
  add_method_notes(result.weights.plan, notes);
  if (result.weights.order) notes.push_back(order_note(*result.weights.order));
  return notes;
}

void warn_of_noise(const PruneSettings& settings, const PruneResult& result) {
  const std::optional<DropLimit> limit = max_drop_of(settings);
  if (!limit || !result.dense || !result.reached->drop_high) return;
  const MetricPair& dense = *result.dense;
  const double allowed = allowed_drop(*limit, dense.a);
  const double noise =
      *result.reached->drop_high - metric_drop(dense.name, dense.a, *result.reached->metric);
  if (noise <= allowed) return;
  warn(fmt::format(
      "--max-drop {} allows {} to lose {}, less than what chance makes of these samples ({} up or "
      "down): other samples may lose more; --confident judges by the upper end of the interval",
      limit->text, dense.name, format_number(allowed), format_number(noise)));
}

}  // namespace espalier
