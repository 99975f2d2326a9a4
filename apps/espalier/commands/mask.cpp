#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/data_options.h"
#include "apps/espalier/finish.h"
#include "apps/espalier/layer_row.h"
#include "apps/espalier/mask_file.h"
#include "apps/espalier/read_uncovered.h"
#include "apps/espalier/run_info.h"
#include "lib/ir/paired_names.h"
#include "lib/prune/choose/masks.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/refit/apply_plan.h"
#include "lib/tensor/layout.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  DataOptions data;
  WriteArgs write;
  std::string a, b, output;
  bool in_place = false;
};

// Kept where any bit is set, so that files with bytes other than 0 and 1 mean the same everywhere.
bool kept(const Tensor& mask, size_t i) { return mask.bytes()[i] != std::byte{0}; }

std::optional<double> share(const Tensor& mask) {
  if (mask.count() == 0) return std::nullopt;
  size_t count = 0;
  for (size_t i = 0; i < mask.count(); ++i) count += kept(mask, i) ? 1 : 0;
  return static_cast<double>(count) / static_cast<double>(mask.count());
}

size_t differing(const Tensor& a, const Tensor& b) {
  size_t count = 0;
  for (size_t i = 0; i < a.count(); ++i) count += kept(a, i) != kept(b, i) ? 1 : 0;
  return count;
}

// A weight that one file lacks is kept whole there.
Tensor all_kept(const Shape& shape) {
  Tensor all = Tensor::zeros(DType::kBool, shape);
  std::ranges::fill(all.mutable_bytes(), std::byte{1});
  return all;
}

// Masks of one weight, b with its axes as a has them.
struct Pair {
  std::string name;
  Tensor a, b;
  std::optional<size_t> outputs_axis;
};

Pair pair_of(const std::string& name, const Mask& a, const Mask& b) {
  const auto b_like_a = laid_out(b.kept, b.outputs_axis, a.kept.shape(), a.outputs_axis);
  if (!b_like_a) {
    throw Error(Fault::kFormat, fmt::format("{}: the masks have shapes {} and {}", printable(name),
                                            to_string(a.kept.shape()), to_string(b.kept.shape())));
  }
  return {name, a.kept, *b_like_a, a.outputs_axis ? a.outputs_axis : b.outputs_axis};
}

std::vector<std::string> names_of(const Masks& masks) {
  std::vector<std::string> names;
  for (const auto& [name, mask] : masks) names.push_back(name);
  return names;
}

// In order of names; a weight has the name that it has in a.
std::vector<Pair> pairs_of(const Masks& a, const Masks& b) {
  const std::vector<std::string> in_a = names_of(a), in_b = names_of(b);
  const auto partners = paired_names(in_a, in_b);
  std::vector<Pair> result;
  Masks only_b = b;
  for (size_t i = 0; const auto& [name, mask] : a) {
    const std::optional<size_t> partner = partners[i++];
    const Mask other = partner ? b.at(in_b[*partner]) : Mask(all_kept(mask.kept.shape()));
    result.push_back(pair_of(name, mask, other));
    if (partner) only_b.erase(in_b[*partner]);
  }
  for (const auto& [name, mask] : only_b)
    result.push_back({name, all_kept(mask.kept.shape()), mask.kept, mask.outputs_axis});
  std::ranges::sort(result, {}, &Pair::name);
  return result;
}

MaskResult row_of(const Pair& pair) {
  const Tensor a = pair.a.held(), b = pair.b.held();
  MaskResult row{pair.name, a.shape(), share(a), share(b), differing(a, b)};
  pair.a.give_back();
  pair.b.give_back();
  return row;
}

// What both keep, or what either keeps.
Tensor combined(const Tensor& a, const Tensor& b, bool both) {
  Tensor mask = Tensor::zeros(DType::kBool, a.shape());
  const std::span<std::byte> to = mask.mutable_bytes();
  for (size_t i = 0; i < to.size(); ++i) {
    const bool in_a = kept(a, i), in_b = kept(b, i);
    to[i] = std::byte{both ? in_a && in_b : in_a || in_b};
  }
  return mask;
}

// Nothing that is read is replaced: told before any work.
CommandFiles checked_files(const Args& args, bool model) {
  CommandFiles files;
  if (model) {
    files.reads_model("MODEL", args.a);
  } else {
    files.reads("A", args.a);
    files.reads("B", args.b);
  }
  files.writes("-o", args.output);
  files.writes(args.common);
  return files;
}

// The share that `combined` keeps: what differs is kept in one of them.
std::optional<double> combined_share(const MaskResult& row, const Tensor& like, bool both) {
  if (!row.kept_a || !row.kept_b) return std::nullopt;
  const double differ = static_cast<double>(row.differ) / static_cast<double>(like.count());
  return (*row.kept_a + *row.kept_b + (both ? -differ : differ)) / 2;
}

int report(const Args& args, RunInfo run, const std::vector<MaskResult>& rows, bool two) {
  Results results;
  results.command = "mask";
  results.run = std::move(run);
  results.masks = MaskResults{printable(args.a, 4096), two ? printable(args.b, 4096) : "", rows};
  emit(results, args.common);
  return kDone;
}

int export_masks(const Args& args) {
  RunInfo run = run_info(checked_files(args, true), args.common);
  const Masks masks = masks_of_zeros(read_uncovered(args.a, args.common.threads), {});
  std::vector<MaskResult> rows;
  for (const auto& [name, mask] : masks) {
    rows.push_back({name, mask.kept.shape(), share(mask.kept.held()), {}, 0});
    mask.kept.give_back();
  }
  write_masks(args.output, masks);
  return report(args, std::move(run), rows, false);
}

int combine(const Args& args, bool both) {
  RunInfo run = run_info(checked_files(args, false), args.common);
  Masks result;
  std::vector<MaskResult> rows;
  for (const Pair& pair : pairs_of(read_masks(args.a), read_masks(args.b))) {
    rows.push_back(row_of(pair));
    rows.back().kept_out = combined_share(rows.back(), pair.a, both);
    const auto make = [pair, both] {
      Tensor mask = combined(pair.a.held(), pair.b.held(), both);
      pair.a.give_back();
      pair.b.give_back();
      return mask;
    };
    result[pair.name] = {Tensor::deferred(DType::kBool, pair.a.shape(), make), pair.outputs_axis};
  }
  write_masks(args.output, result);
  return report(args, std::move(run), rows, true);
}

int diff_masks(const Args& args) {
  RunInfo run = run_info(checked_files(args, false), args.common);
  std::vector<MaskResult> rows;
  for (const Pair& pair : pairs_of(read_masks(args.a), read_masks(args.b)))
    rows.push_back(row_of(pair));
  return report(args, std::move(run), rows, true);
}

LayerResult row_of(const PackedModels& models, const LayerPlan& plan, bool dense) {
  LayerResult row = layer_row(plan.layer, weight_of(models.before, plan.layer),
                              weight_of(models.packed, plan.layer));
  row.zeros = zeros_left(models, plan);
  models.give_back(plan.layer);
  if (dense) row.bytes_after = row.bytes_before;
  return row;
}

// Masks the model, packs it, and leaves verification, writing and the report to finish().
int apply(Args args) {
  if (args.output.empty() && !args.in_place)
    throw Error(Fault::kUsage, "-o OUT is missing: the file to write, or --in-place");
  if (args.output.empty()) args.output = args.a;
  CommandFiles files;
  files.reads_model("IN", args.a);
  files.reads("MASKS", args.b);
  files.reads(args.data);
  files.writes_model(args.output, args.in_place);
  files.writes(args.common);
  RunInfo run = run_info(files, args.common);
  check_data_options(args.data);
  const Destination destination = destination_of(args.output, false, args.write, "");
  ThreadPool pool(args.common.threads);
  PackedModels models;
  models.before = read_uncovered(args.a, args.common.threads);
  const Evaluation evaluation = read_evaluation(models.before,
                                                {.path = args.data.inputs,
                                                 .shapes = destination.write.shapes,
                                                 .optional = true,
                                                 .memory = args.write.memory},
                                                args.data, args.common);
  PrunePlan plan = plan_from_masks(models.before, {}, read_masks(args.b));
  models.masked = apply_plan(models.before, plan, pool);
  models.packed = pack_weights(models.before, plan, pool);
  for (LayerPlan& layer : plan.layers) layer.mask = {};  // not looked at any more
  const std::string& profile = destination.write.profile;
  Heading heading{
      "mask apply",  args.a, {{"masks", printable(args.b, 4096)}, {"profile", profile}}, {}, {}, {},
      std::move(run)};
  std::vector<LayerResult> unstored;
  for (const LayerPlan& layer : plan.layers) {
    if (stored_weight(models.before, layer.layer) == nullptr) {
      unstored.push_back(unstored_row(layer.layer));
      continue;
    }
    models.layers.push_back(layer.layer);
    heading.rows.push_back(row_of(models, layer, profile == "dense"));
  }
  heading.rows.insert(heading.rows.end(), unstored.begin(), unstored.end());
  return finish(models, evaluation, destination, std::move(heading), {}, args.common);
}

// A subcommand of mask: two files in, maybe one out.
CLI::App* add_sub(CLI::App& app, Args& args, const char* name, const char* what, const char* a,
                  const char* b, bool writes, const char* example) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->add_option(a, args.a, "")->required();
  if (b != nullptr) sub->add_option(b, args.b, "")->required();
  if (writes) sub->add_option("-o,--output", args.output, "file to write")->required();
  add_common(*sub, args.common);
  add_footer(*sub, example);
  return sub;
}

struct Sub {
  CLI::App* app;
  std::function<int()> run;
};

// Declares the subcommands of mask and their arguments.
std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.require_subcommand(1);
  std::vector<Sub> subs;
  subs.push_back({add_sub(app, *args, "export", "write the masks of the zeros in a model", "MODEL",
                          nullptr, true, "  espalier mask export pruned.onnx -o masks.npz"),
                  [args] { return export_masks(*args); }});
  CLI::App* apply_app =
      add_sub(app, *args, "apply", "prune a model by masks, pack and write it", "MODEL", "MASKS",
              true, "  espalier mask apply model.onnx masks.npz -o pruned.onnx");
  add_write_options(*apply_app, args->write);
  apply_app->get_option("--output")->required(false);
  add_in_place(*apply_app, args->in_place);
  add_data_options(*apply_app, args->data, "inputs on which the result is verified");
  subs.push_back({apply_app, [args] { return apply(*args); }});
  subs.push_back({add_sub(app, *args, "union", "keep what either mask keeps", "A", "B", true,
                          "  espalier mask union a.npz b.npz -o c.npz"),
                  [args] { return combine(*args, false); }});
  subs.push_back({add_sub(app, *args, "intersect", "keep what both masks keep", "A", "B", true,
                          "  espalier mask intersect a.npz b.npz -o c.npz"),
                  [args] { return combine(*args, true); }});
  subs.push_back({add_sub(app, *args, "diff", "compare two sets of masks", "A", "B", false,
                          "  espalier mask diff a.npz b.npz"),
                  [args] { return diff_masks(*args); }});
  add_footer(app, "  espalier mask export pruned.onnx -o masks.npz");
  return [args, subs] {
    apply_common(args->common);
    for (const Sub& sub : subs) {
      if (sub.app->parsed()) return sub.run();
    }
    return static_cast<int>(kWrongUsage);
  };
}

}  // namespace

constinit const Command mask_command{
    "mask", "work with masks in .npz files: export, apply, union, intersect, diff", add};

}  // namespace espalier
