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

std::string name_of(const PruneOptions& options) {
  const std::string values = options.values.empty() ? "" : "-" + options.values;
  return fmt::format("{}-{}-{:g}{}", options.method, to_string(options.block), options.sparsity,
                     values);
}

// The settings of one point, under its name.
SweepTask task_of(PruneArgs args, const std::string& ending, const std::string& given_name = "") {
  // The folder is made when all is checked: until then the one around it serves.
  const std::filesystem::path given = args.output;
  const std::filesystem::path folder = given.has_filename() ? given : given.parent_path();
  args.output = folder.string() + ".point" + ending;
  SweepTask task{given_name, prune_settings(args), 0, 0};
  if (task.name.empty()) task.name = name_of(task.settings.request.options);
  task.settings.destination.output = folder / (task.name + ending);
  return task;
}

}  // namespace

std::vector<SweepTask> sweep_tasks(const SweepArgs& args) {
  if (std::ranges::count(args.blocks, "auto") != 0)
    throw Error(Fault::kUsage, "--block auto: a sweep takes block shapes; advise measures them");
  const std::string ending = ending_of(args);
  std::vector<SweepTask> tasks;
  std::set<std::string> names;
  size_t group = 0, weights = 0;
  for (const std::string& method : or_default(args.methods, args.prune.method)) {
    for (const std::string& block : or_default(args.blocks, args.prune.block)) {
      for (const double sparsity : args.sparsities) {
        for (const std::string& values : or_default(args.values, args.prune.values)) {
          PruneArgs point = args.prune;
          point.method = method;
          point.block = block;
          point.sparsity = sparsity;
          point.values = values;
          SweepTask& task = tasks.emplace_back(task_of(std::move(point), ending));
          task.group = group;
          task.weights = weights;
          if (!names.insert(task.name).second)
            throw Error(Fault::kUsage, fmt::format("{}: duplicate point of the grid", task.name));
        }
        ++weights;
      }
      ++group;
    }
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
    SweepTask task = task_of(std::move(point), ending_of(args), "int8");
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
