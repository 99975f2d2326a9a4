#include "lib/search/value_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "lib/base/checked_math.h"
#include "lib/base/log.h"
#include "lib/calibrate/kept_inputs.h"
#include "lib/prune/options/layer_settings.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/select/name_pattern.h"
#include "lib/search/sensitivity_scan.h"

namespace espalier {
namespace {

constexpr size_t kTypeFeeds = 8;
constexpr size_t kMostTypeGroups = 64;
// What decodes a packed weight in a file takes some hundred bytes.
constexpr uint64_t kLeastSaving = 1024;
// Squared relative change of the outputs with all weights in f16 below which f16 costs nothing.
constexpr double kNothing = 1e-4;
// Shares of what all i8 values change that the levels leave, the last but one none of it.
constexpr std::array kLeft{1.0, 1.0 / 4, 1.0 / 16, 0.0};

// Which of `layers` only an option of the selection leaves out, or no operator multiplies by.
std::vector<bool> may_be_narrowed(const Model& model, const PruneOptions& options,
                                  const std::vector<Layer>& layers) {
  SelectOptions all = options.select;
  all.operators.clear();
  all.keep_first_last = false;
  all.min_weights = 1;
  std::map<std::string, std::string> reasons;
  for (const Layer& layer : select_layers(model, all)) reasons[layer.weight] = layer.left_out;
  std::vector<NamePattern> exclude;
  for (const std::string& pattern : options.select.exclude) exclude.emplace_back(pattern);
  const std::vector<LayerSettings> settings = layer_settings(layers, options);
  std::vector<bool> may;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i];
    const bool excluded =
        std::ranges::any_of(exclude, [&](auto& p) { return p.found_in(layer.weight); });
    const Weight* weight = stored_weight(model, layer);
    const bool floats =
        layer.dtype == DType::kF32 || layer.dtype == DType::kF16 || layer.dtype == DType::kBF16;
    may.push_back(weight != nullptr && floats && !excluded && settings[i].skipped_by.empty() &&
                  (reasons[layer.weight].empty() || layer.op == "Gather"));
  }
  return may;
}

// A plan that stores these layers whole in a narrower type, and nothing else.
struct Alone {
  PrunePlan plan;

  void add(Layer layer, BlockShape block, bool diagonal, const std::string& values) {
    LayerPlan& added = plan.layers.emplace_back();
    added.mask = BlockMask(block, layer.fold, true);
    added.layer = std::move(layer);
    added.layer.left_out.clear();
    added.block = block;
    added.diagonal = diagonal;
    added.values = values;
  }
};

}  // namespace

// The narrowest type is the one with the fewest bytes: i8 has a scale for each output.
void ValueTypes::add_choices(const Model& model, const PruneOptions& options,
                             const std::vector<Layer>& layers) {
  const std::vector<bool> may = may_be_narrowed(model, options, layers);
  const std::vector<LayerSettings> settings = layer_settings(layers, options);
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!may[i]) continue;
    const Layer& layer = layers[i];
    const bool pruned = layer.left_out.empty();
    const bool diagonal = pruned && layer.square && options.keep_diagonal;
    const WholePacking best = smallest_whole(layer.fold, layer.dtype, DType::kI8);
    Choice choice{i, pruned, pruned ? settings[i].block : best.block, "", "", 0, 0};
    const auto bytes = [&](DType values) {
      return whole_bytes(layer.fold, choice.block, diagonal, layer.dtype, values);
    };
    const bool half = layer.dtype == DType::kF32;  // then f16 is narrower
    const uint64_t own = layer.fold.count() * bytes_of(layer.dtype);
    const uint64_t wide = half ? std::min(bytes(DType::kF16), own) : own, i8 = bytes(DType::kI8);
    if (!pruned && own < std::min(i8, wide) + kLeastSaving) continue;
    if (half) choice.wide = "f16";
    choice.narrow = i8 < wide ? "i8" : choice.wide;
    choice.saved = i8 < wide ? wide - i8 : 0;
    choices_.push_back(choice);
  }
}

// Runs the dense model with parts of it in i8, and with all of it in f16; with parts of it in f16
// only where that changes anything.
void ValueTypes::scan(const Model& model, const PruneOptions& options, const PruneData& data,
                      ThreadPool& pool) {
  const bool calibrated = data.calib != nullptr && !data.calib->feeds.empty();
  const CalibrationFeeds& from = calibrated ? *data.calib : *data.others;
  const std::vector<Feed> feeds =
      some_feeds(from.feeds, std::min(from.feeds.size(), kTypeFeeds), !from.data.states.empty());
  feeds_ = feeds.size();
  const auto outputs = [&](const Model& packed) {
    return raw_outputs(packed, from.data, feeds, data.collect.threads, true);
  };
  const std::vector<Feed> expected = outputs(model);
  const auto distance = [&](size_t first, size_t end, const std::string Choice::*type) {
    Alone alone;
    for (size_t i = first; i < end; ++i) {
      const Choice& choice = choices_[i];
      const Layer& layer = data.layers[choice.layer];
      const bool diagonal = choice.pruned && layer.square && options.keep_diagonal;
      if (!(choice.*type).empty()) alone.add(layer, choice.block, diagonal, choice.*type);
    }
    try {
      return output_distance(expected, outputs(pack_weights(model, alone.plan, pool)));
    } catch (const Error& error) {
      if (error.fault() != Fault::kFormat) throw;
      return std::numeric_limits<double>::infinity();  // a value that the type cannot hold
    }
  };
  const size_t together = std::max<size_t>(1, ceil_div(choices_.size(), kMostTypeGroups));
  const size_t groups = ceil_div(choices_.size(), together);
  Progress progress("value types", groups);
  const bool f16 = distance(0, choices_.size(), &Choice::wide) <= kNothing;
  for (size_t first = 0; first < choices_.size(); first += together, progress.step()) {
    const size_t end = std::min(first + together, choices_.size());
    const double narrow = distance(first, end, &Choice::narrow);
    const bool wide =
        f16 || distance(first, end, &Choice::wide) <= kNothing / static_cast<double>(groups);
    for (size_t i = first; i < end; ++i) {
      Choice& choice = choices_[i];
      choice.distance = narrow / static_cast<double>(end - first);
      if (!wide) choice.wide.clear();
      if (!std::isfinite(narrow)) choice.narrow = choice.wide, choice.distance = 0;
    }
  }
}

// Those that lose most for each byte that i8 saves go first, until what is left of the changes is
// the share of the level.
void ValueTypes::make_levels() {
  std::vector<size_t> order(choices_.size());
  std::iota(order.begin(), order.end(), 0);
  const auto price = [&](size_t i) {
    return choices_[i].distance / static_cast<double>(std::max<uint64_t>(1, choices_[i].saved));
  };
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return price(a) > price(b); });
  double all = 0;
  for (const Choice& choice : choices_) all += choice.distance;
  for (const double share : kLeft) {
    std::vector<std::string> types;
    for (const Choice& choice : choices_) types.push_back(choice.narrow);
    double left = all;
    for (const size_t i : order) {
      if (left <= share * all) break;
      types[i] = choices_[i].wide;
      left -= choices_[i].distance;
    }
    if (share == 0)
      for (size_t i = 0; i < types.size(); ++i) types[i] = choices_[i].wide;
    if (types_.empty() || types != types_.back()) types_.push_back(std::move(types));
  }
  std::vector<std::string> own(choices_.size());
  if (own != types_.back()) types_.push_back(std::move(own));
}

ValueTypes::ValueTypes(const Model& model, const PruneOptions& options, const PruneData& data,
                       ThreadPool& pool) {
  const Stage stage("value types");
  add_choices(model, options, data.layers);
  scan(model, options, data, pool);
  make_levels();
}

void ValueTypes::set(size_t level, PrunePlan& plan) const {
  for (size_t i = 0; i < choices_.size(); ++i) {
    LayerPlan& layer = plan.layers[choices_[i].layer];
    layer.values = types_[level][i];
    if (!choices_[i].pruned) layer.block = choices_[i].block;
  }
}

std::string stored_types(const Model& packed, const std::vector<LayerPlan>& layers) {
  std::map<std::string, size_t> counts;
  for (const LayerPlan& layer : layers) {
    const Weight* weight = stored_weight(packed, layer.layer);
    if (weight == nullptr || (!layer.layer.left_out.empty() && layer.values.empty())) continue;
    ++counts[std::string(
        name_of(weight->is_sparse() ? weight->sparse().values.dtype() : weight->dtype()))];
  }
  std::string text;
  for (const char* type : {"i8", "bf16", "f16", "f32"}) {
    const auto found = counts.find(type);
    if (found == counts.end()) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", found->second, type);
  }
  return text;
}

}  // namespace espalier
