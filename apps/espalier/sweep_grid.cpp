#include "apps/espalier/sweep_grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "formats/format.h"

namespace espalier {
namespace {

// Files of the points are in the format of the model, unless another ending is given.
std::string ending_of(const SweepArgs& args) {
  if (!args.ending.empty()) return args.ending;
  for (const Format* format : formats()) {
    if (format->recognise(args.prune.input)) return format->name == "nnef" ? ".nnef.tgz" : ".onnx";
  }
  return ".onnx";
}

template <typename T>
std::vector<T> or_default(const std::vector<T>& list, T value) {
  return list.empty() ? std::vector<T>{value} : list;
}

std::string name_of(const PruneOptions& options, const std::string& effort) {
  const auto part = [](const std::string& text) { return text.empty() ? "" : "-" + text; };
  return fmt::format("{}-{}-{:g}{}{}", options.method, to_string(options.block), options.sparsity,
                     part(options.values), part(effort));
}

// The settings of one point, under its name.
SweepTask task_of(PruneArgs args, const std::string& ending, const std::string& effort,
                  const std::string& given_name = "") {
  // The folder is made when all is checked: until then the one around it serves.
  const std::filesystem::path given = args.output;
  const std::filesystem::path folder = given.has_filename() ? given : given.parent_path();
  args.output = folder.string() + ".point" + ending;
  SweepTask task{given_name, effort, prune_settings(args), 0, 0};
  if (task.name.empty()) task.name = name_of(task.settings.request.options, effort);
  task.settings.destination.output = folder / (task.name + ending);
  return task;
}

// The points of one effort behind those that are there.
void add_tasks_of(const std::string& effort, const SweepArgs& args, std::vector<SweepTask>& tasks) {
  const std::string ending = ending_of(args);
  size_t group = tasks.empty() ? 0 : tasks.back().group + 1;
  size_t weights = tasks.empty() ? 0 : tasks.back().weights + 1;
  for (const std::string& method : or_default(args.methods, args.prune.method)) {
    for (const std::string& block : or_default(args.blocks, args.prune.block)) {
      for (const double sparsity : args.sparsities) {
        for (const std::string& values : or_default(args.values, args.prune.values)) {
          PruneArgs point = args.prune;
          point.method = method;
          point.block = block;
          point.sparsity = sparsity;
          point.values = values;
          if (!effort.empty()) point.effort = effort;
          SweepTask& task = tasks.emplace_back(task_of(std::move(point), ending, effort));
          task.group = group;
          task.weights = weights;
        }
        ++weights;
      }
      ++group;
    }
  }
}

void check_effort(const std::string& effort, const SweepTask& task) {
  if (effort.empty() || effort == "fast" || task.settings.tries_orders) return;
  throw Error(Fault::kUsage,
              fmt::format("--effort {}: requires --calib with inputs, without --sequential, "
                          "--no-refit and --schedule; the points would be those of fast",
                          effort));
}

}  // namespace

std::vector<SweepTask> sweep_tasks(const SweepArgs& args) {
  if (std::ranges::count(args.blocks, "auto") != 0)
    throw Error(Fault::kUsage, "--block auto: a sweep takes block shapes; advise measures them");
  std::vector<SweepTask> tasks;
  for (const std::string& effort : or_default(args.efforts, std::string())) {
    const size_t first = tasks.size();
    add_tasks_of(effort, args, tasks);
    check_effort(effort, tasks[first]);
  }
  std::set<std::string> names;
  for (const SweepTask& task : tasks) {
    if (!names.insert(task.name).second)
      throw Error(Fault::kUsage, fmt::format("{}: duplicate point of the grid", task.name));
  }
  return tasks;
}

std::optional<SweepTask> int8_task(const SweepArgs& args) {
  PruneArgs point = args.prune;
  point.method = "l2";
  point.scope = "layer";
  point.sparsity = 0;
  point.block = "16x4";
  point.values = "i8";
  point.layers.clear();
  point.recipe.clear();
  point.schedule.clear();
  point.sequential = false;
  point.no_refit = true;
  try {
    SweepTask task = task_of(std::move(point), ending_of(args), "", "int8");
    task.group = task.weights = SIZE_MAX;  // shares nothing with the grid
    return task;
  } catch (const Error& error) {
    if (error.fault() != Fault::kUnsupported) throw;
    return std::nullopt;
  }
}

std::pair<size_t, size_t> shard_of(const std::string& shard, size_t count) {
  if (shard.empty()) return {0, count};
  size_t index = 0, of = 0;
  const char* const end = shard.data() + shard.size();
  const auto [slash, fault] = std::from_chars(shard.data(), end, index);
  const bool split = fault == std::errc() && slash != end && *slash == '/';
  const auto rest = std::from_chars(split ? slash + 1 : end, end, of);
  if (!split || rest.ec != std::errc() || rest.ptr != end || index < 1 || index > of || of > 100000)
    throw Error(Fault::kUsage,
                fmt::format("--shard {}: expected I/N with I from 1 to N", printable(shard)));
  return {(index - 1) * count / of, index * count / of};
}

}  // namespace espalier
