#include "apps/espalier/sweep_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "formats/format.h"
#include "lib/base/file_identity.h"
#include "lib/base/mapped_file.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/search/pareto.h"
#include "lib/verify/drop_limit.h"
#include "lib/verify/quantile.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMaxDrop = "max-drop";

DropLimit limit_of(const std::string& pick) {
  const std::string form = "expected --pick 'max-drop D' or 'max-drop P%'";
  const size_t end = kMaxDrop.size();
  if (!pick.starts_with(kMaxDrop) || pick.size() < end + 2 ||
      (pick[end] != ' ' && pick[end] != '='))
    throw Error(Fault::kUsage, fmt::format("--pick '{}': {}", printable(pick), form));
  const PruneTarget target = parse_max_drop(pick.substr(end + 1), "pick max-drop");
  return {target.value, target.share, pick.substr(end + 1)};
}

void copy_model(const fs::path& from, const fs::path& to) {
  for (const fs::path& file : model_files(from)) {
    const fs::path target =
        file == from ? to : to.parent_path() / file.lexically_relative(from.parent_path());
    write_file(target, MappedFile::open(file)->bytes());
  }
}

}  // namespace

SweepResults sweep_results(const std::vector<SweepRecord>& records, const SweepReference& dense,
                           const std::optional<SweepReference>& int8) {
  SweepResults sweep;
  sweep.model = dense.model;
  sweep.metric = dense.metric;
  sweep.dense = dense.reference;
  if (int8) sweep.int8 = int8->reference;
  for (const SweepRecord& record : records) sweep.points.push_back(record.point);
  if (!records.empty()) sweep.missing = records.front().of - records.size();
  mark_pareto(sweep.points, sweep.metric, sweep.dense.metric.value_or(0));
  return sweep;
}

void check_pick(const std::string& pick, const std::string& by) {
  if (!pick.empty()) limit_of(pick);
  if (by != "size" && by != "speed")
    throw Error(Fault::kUsage, fmt::format("--by {}: expected size or speed", printable(by)));
}

size_t pick_point(const SweepResults& sweep, const std::string& pick, const std::string& by) {
  if (sweep.metric.empty() || !sweep.dense.metric) {
    throw Error(Fault::kUnsupported,
                fmt::format("--pick '{}' requires a metric: --eval with --labels, or --metric-cmd",
                            printable(pick)));
  }
  const DropLimit limit = limit_of(pick);
  const auto cost = [&](const SweepPoint& point) {
    return by == "speed" ? point.median_ms.value_or(INFINITY) : static_cast<double>(point.bytes);
  };
  std::optional<size_t> best;
  for (size_t i = 0; i < sweep.points.size(); ++i) {
    const SweepPoint& point = sweep.points[i];
    if (!point.metric || !within(limit, {sweep.metric, *sweep.dense.metric, *point.metric}))
      continue;
    if (!best || cost(point) < cost(sweep.points[*best])) best = i;
  }
  if (!best) {
    throw Error(Fault::kUnsupported,
                fmt::format("--pick '{}': no point of the grid keeps {} at that; dense is {:.6g}",
                            printable(pick), printable(sweep.metric), *sweep.dense.metric));
  }
  return *best;
}

void write_picked(const SweepStore& store, const SweepRecord& record) {
  const std::string ending = record.point.file.substr(record.name.size());
  copy_model(store.folder() / record.point.file, store.folder() / ("picked" + ending));
  write_file(store.folder() / "picked.recipe.json", as_bytes(record.recipe));
}

std::vector<SweepRecord> merge_sweeps(const std::vector<std::string>& folders,
                                      const SweepStore& store) {
  std::map<size_t, SweepRecord> records;  // by place in the grid
  std::vector<double> dense_ms;
  std::optional<SweepReference> dense, int8;
  for (const std::string& folder : folders) {
    const SweepStore other(folder);
    const std::vector<SweepRecord> all = other.all();
    const auto reference = other.reference("dense");
    if (!reference)
      throw Error(Fault::kFormat, fmt::format("{}: holds no sweep", printable(folder, 4096)));
    if (!dense) dense = reference;
    if (!int8) int8 = other.reference("int8");
    const auto foreign = [&](const SweepRecord& record) { return record.sweep != dense->sweep; };
    if (reference->sweep != dense->sweep || std::ranges::any_of(all, foreign)) {
      throw Error(Fault::kUsage,
                  fmt::format("{}: is another sweep than {}: model, data, options or grid differ",
                              printable(folder, 4096), printable(folders.front(), 4096)));
    }
    if (reference->reference.median_ms) dense_ms.push_back(*reference->reference.median_ms);
    store.create();
    for (const SweepRecord& record : all) {
      if (!same_file(folder, store.folder()))
        copy_model(fs::path(folder) / record.point.file, store.folder() / record.point.file);
      store.write(record);
      records.insert_or_assign(record.index, record);
    }
    if (int8 && !same_file(folder, store.folder()) && other.reference("int8"))
      copy_model(fs::path(folder) / int8->reference.file, store.folder() / int8->reference.file);
  }
  if (!dense_ms.empty()) dense->reference.median_ms = median(dense_ms);
  store.write("dense", *dense);
  if (int8) store.write("int8", *int8);
  std::vector<SweepRecord> result;
  for (auto& [index, record] : records) result.push_back(std::move(record));
  return result;
}

}  // namespace espalier
