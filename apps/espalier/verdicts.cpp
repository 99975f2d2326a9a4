#include "apps/espalier/verdicts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "formats/format.h"
#include "formats/model_facts.h"
#include "lib/base/name_list.h"
#include "lib/ir/named_weights.h"
#include "lib/ops/default_inputs.h"

namespace espalier {
namespace {

bool compressed(const Destination& destination) {
  const std::string name = destination.output.string();
  return name.ends_with(".tgz") || name.ends_with(".tar.gz");
}

// Weights that were to be packed and are stored dense.
std::vector<std::string> stayed_dense(const PackedModels& models) {
  std::vector<std::string> names;
  for (const Layer& layer : models.layers) {
    if (layer.left_out.empty() && !weight_of(models.packed, layer).is_sparse())
      names.push_back(layer.weight);
  }
  return names;
}

std::string why_not_smaller(const Judged& judged, const std::vector<LayerResult>& rows) {
  if (judged.destination.write.profile == "dense")
    return "the dense profile stores zeros like any other value";
  uint64_t before = 0, after = 0;
  bool any = false;
  for (const LayerResult& row : rows) {
    if (!row.left_out.empty()) continue;
    any = true;
    before += row.bytes_before;
    after += row.bytes_after;
  }
  if (!any) return "no weight was packed";
  if (after >= before)
    return "the kept blocks and their index take as many bytes as the dense weights";
  if (judged.models.before.origin.format != format_for_output(judged.destination.output).name)
    return fmt::format("the weights take {} instead of {}, the rest is due to the other format",
                       format_bytes(after), format_bytes(before));
  return fmt::format("the weights take {} instead of {}, the rest grew", format_bytes(after),
                     format_bytes(before));
}

std::string metric_text(const MetricPair& m, const std::optional<DropLimit>& limit) {
  std::string text = fmt::format("{} {:.6g} -> {:.6g}", printable(m.name), m.a, m.b);
  if (limit && !within(*limit, m))
    text += fmt::format(" (loss above --assert-drop {})", limit->text);
  if (!limit && !accuracy_kept(m)) text += fmt::format(" (loss above {})", tolerated_text(m.name));
  if (m.drop_low) {
    text += fmt::format(", lost {} ({} to {} on resampled data)",
                        format_number(metric_drop(m.name, m.a, m.b)), format_number(*m.drop_low),
                        format_number(*m.drop_high));
  }
  if (m.magnitude) text += fmt::format(", by magnitude {:.6g}", *m.magnitude);
  return text;
}

std::string worst(const Comparison& comparison) {
  const double value = comparison.max_rel();
  return value == 0 ? "exactly" : fmt::format("to {:.1e}", value);
}

std::string gap_text(const Findings& findings) {
  switch (gap_of(findings)) {
    case Gap::kPacking:
      return fmt::format("GAP: packed weights do not decode to what was packed: {}",
                         name_list(findings.packing.wrong));
    case Gap::kReadBack:
      return fmt::format("GAP: weights in the written file differ: {}",
                         name_list(findings.read_back->wrong));
    case Gap::kReadBackOutputs:
      return fmt::format("GAP: the written file computes other outputs, off by {:.1e}",
                         findings.read_back_run->max_rel());
    case Gap::kOutputs:
      return fmt::format("GAP: packed and decoded weights compute different outputs, off by {:.1e}",
                         findings.run.packed.max_rel());
    case Gap::kNone:
      break;
  }
  return "";
}

std::string samples_text(const RunChecks& run) {
  return run.random ? std::string("random inputs")
                    : fmt::format("{} {}", run.samples, run.samples == 1 ? "sample" : "samples");
}

// Of weights that were not pruned.
std::string weights_text(size_t zero_signs) {
  std::string text = "every weight equals that of the input bit for bit";
  if (zero_signs == 0) return text;
  return fmt::format("{}, except for {} negative {}", text, zero_signs,
                     zero_signs == 1 ? "zero written as zero" : "zeros written as zeros");
}

// What was measured, one part after another.
std::vector<std::string> accuracy_parts(const Judged& judged) {
  const auto& [models, destination, findings] = judged;
  std::vector<std::string> parts;
  if (findings.metric) parts.push_back(metric_text(*findings.metric, findings.limit));
  if (findings.command_metric)
    parts.push_back(
        metric_text(*findings.command_metric, findings.metric ? std::nullopt : findings.limit));
  if (!models.pruned && findings.verified)
    parts.push_back(weights_text(findings.packing.zero_signs));
  if (!findings.run.not_run.empty()) {
    parts.push_back("outputs not compared: " + findings.run.not_run);
    return parts;
  }
  if (findings.run.cost) {
    const std::string first = output_names(models.before).at(0);
    for (const OutputDifference& o : findings.run.cost->outputs) {
      if (o.name != first) continue;
      parts.push_back(fmt::format("the output changes by {} (relative, {})",
                                  format_number(o.relative_error), samples_text(findings.run)));
    }
  }
  parts.push_back(
      fmt::format("packed and decoded agree {}{}", worst(findings.run.packed),
                  findings.run.cost ? "" : fmt::format(" ({})", samples_text(findings.run))));
  if (findings.run.rounding) {
    parts.back() += fmt::format(
        ", which is rounding: decoded weights agree with themselves {} "
        "where sums have another order",
        worst(*findings.run.rounding));
  }
  return parts;
}

// What stock readers do with packed weights of a profile; measured, see docs/formats/sparse-nnef.md
// and sparse-onnx.md.
struct ProfileReaders {
  std::string_view format, profile, sentence;
};
constexpr std::string_view kStockTract =
    "Stock tract 0.23 decodes these files at load and runs them at dense speed, while tract 0.22 "
    "and 0.21 decode weights of equal shape in every run (--profile portable)";
constexpr std::string_view kFunctions =
    "onnxruntime decodes these files at load and runs them at dense speed, while tract and "
    "OpenVINO refuse model-local functions (--profile inline)";
constexpr auto kProfileReaders = std::to_array<ProfileReaders>({
    {"nnef", "tract", kStockTract},
    {"nnef", "operator", kStockTract},
    {"nnef", "portable",
     "Stock tract decodes these files at load and runs them at dense speed, while the Session of "
     "the Khronos package decodes them in every run"},
    {"nnef", "opaque",
     "Stock readers do not run these files, because profile opaque contains no decode"},
    {"onnx", "function", kFunctions},
    {"onnx", "operator", kFunctions},
    {"onnx", "region", kFunctions},
    {"onnx", "inline",
     "onnxruntime and OpenVINO decode these files at load and run them at dense speed, while tract "
     "decodes large weights in every run (convert to NNEF for tract)"},
    {"onnx", "sparse-value",
     "onnxruntime and OpenVINO decode these files at load and run them at dense speed, while tract "
     "refuses sparse tensors"},
    {"onnx", "sparse-initializer",
     "onnxruntime decodes these files at load and runs them at dense speed, while tract and "
     "OpenVINO refuse sparse initializers"},
});

std::string stock_readers(const Destination& destination, bool runs_here) {
  std::string_view sentence = "Stock readers decode these files and run them at dense speed";
  const std::string_view format =
      destination.output.empty() ? "" : format_for_output(destination.output).name;
  for (const ProfileReaders& readers : kProfileReaders) {
    if (readers.format == format && readers.profile == destination.write.profile)
      sentence = readers.sentence;
  }
  return fmt::format("{}; {}", sentence,
                     runs_here ? "only espalier's runtime uses the sparsity."
                               : "espalier's runtime does not run this file.");
}

}  // namespace

Verdict size_verdict(const Judged& judged, const std::vector<LayerResult>& rows) {
  const auto& [models, destination, findings] = judged;
  if (gap_of(findings) != Gap::kNone) return {"size", std::nullopt, "nothing was written"};
  const uint64_t before = models.before.origin.bytes;
  const std::optional<bool> is_smaller = smaller(findings, before);
  if (!is_smaller) {
    return {"size", std::nullopt,
            "not written (dry run); the table shows the sizes of the weights"};
  }
  const uint64_t after = *findings.output_bytes;
  const std::string_view kind = any_packed(models.before) ? "input" : "dense";
  std::string text = fmt::format("{:.1f} % of the {} file: {} instead of {}{}",
                                 100 * static_cast<double>(after) / static_cast<double>(before),
                                 kind, format_bytes(after), format_bytes(before),
                                 compressed(destination) ? " (gzip-compressed)" : "");
  if (!*is_smaller) text += "; not smaller: " + why_not_smaller(judged, rows);
  return {"size", is_smaller, std::move(text),
          fmt::format("{:.1f} %", 100 * static_cast<double>(after) / static_cast<double>(before))};
}

namespace {

// "top1 0.971".
std::string metric_figure(const Findings& findings) {
  const auto& metric = findings.metric ? findings.metric : findings.command_metric;
  if (!metric) return "";
  return fmt::format("{} {}", metric->name, format_number(metric->b));
}

}  // namespace

Verdict accuracy_verdict(const Judged& judged) {
  const Findings& findings = judged.findings;
  if (gap_of(findings) != Gap::kNone) return {"accuracy", false, gap_text(findings)};
  const std::string text = fmt::format("{}", fmt::join(accuracy_parts(judged), "; "));
  return {"accuracy", accuracy_kept(findings, judged.models.pruned), text, metric_figure(findings)};
}

Verdict speed_verdict(const Judged& judged) {
  const auto& [models, destination, findings] = judged;
  if (!findings.run.not_run.empty())
    return {"speed", std::nullopt, "not measured: " + findings.run.not_run};
  if (!findings.file_not_run.empty()) {
    return {"speed", std::nullopt,
            "not measured: " + findings.file_not_run + ", as the written file spells the model"};
  }
  const std::optional<bool> is_faster = faster(findings);
  if (!is_faster) {
    return {"speed", std::nullopt,
            any_packed(models.packed) ? "not measured" : "not measured: no weight is packed"};
  }
  const double dense = findings.speed->ms_dense, packed = findings.speed->ms_packed;
  return {
      "speed", is_faster,
      fmt::format("packed {} ms, dense {} ms: {:.2f}x {} in espalier's runtime (spread {:.1f} %)",
                  format_number(packed), format_number(dense),
                  *is_faster ? dense / packed : packed / dense, *is_faster ? "faster" : "slower",
                  100 * findings.speed->spread),
      fmt::format("{:.2f}x", dense / packed)};
}

namespace {

// What the input says besides its graph, where the output is of a format that holds nothing of it.
std::vector<std::string> lost_metadata(const Judged& judged) {
  const auto& [models, destination, findings] = judged;
  if (destination.output.empty()) return {};
  const Format& format = format_for_output(destination.output);
  if (format.name == models.before.origin.format || format.facts != nullptr) return {};
  return facts_of(models.before).metadata;
}

// Inputs that a feed may leave out in the input alone.
std::vector<std::string> lost_defaults(const Judged& judged) {
  const auto& [models, destination, findings] = judged;
  std::vector<std::string> names;
  if (destination.output.empty() || format_for_output(destination.output).name != "nnef")
    return names;
  const Graph& graph = models.before.graph;
  for (const ValueId id : kept_default_inputs(graph)) names.push_back(graph.values[id].name);
  return names;
}

}  // namespace

std::vector<std::string> closing_notes(const Judged& judged) {
  const auto& [models, destination, findings] = judged;
  const bool packs = destination.write.profile != "dense";
  std::vector<std::string> notes;
  if (const auto dense = stayed_dense(models); !dense.empty() && packs) {
    notes.push_back(fmt::format("stored dense, because packing would not make them smaller: {}",
                                name_list(dense)));
  }
  if (findings.speed && !findings.speed->ran_dense.empty()) {
    notes.push_back(fmt::format("run dense, because the sparse kernels would be slower: {}",
                                name_list(findings.speed->ran_dense)));
  }
  if (const auto lost = lost_metadata(judged); !lost.empty()) {
    notes.push_back(fmt::format("metadata of the model that a file of format {} cannot hold: {}",
                                format_for_output(destination.output).name, name_list(lost)));
  }
  if (const auto lost = lost_defaults(judged); !lost.empty()) {
    notes.push_back(
        fmt::format("inputs that are optional in the model and must be fed in a file of format "
                    "nnef: {}",
                    name_list(lost)));
  }
  if (any_packed(models.packed) && packs) {
    notes.push_back(stock_readers(destination, findings.file_not_run.empty()));
  }
  return notes;
}

}  // namespace espalier
