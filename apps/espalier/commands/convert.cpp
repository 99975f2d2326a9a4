#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/data_options.h"
#include "apps/espalier/finish.h"
#include "apps/espalier/layer_row.h"
#include "apps/espalier/metric_trial.h"
#include "apps/espalier/run_info.h"
#include "formats/nnef/operator_list.h"
#include "lib/base/log.h"
#include "lib/ir/node_kinds.h"
#include "lib/passes/recurrent_loops.h"
#include "lib/passes/uncover_weights.h"
#include "lib/prune/pack/block_pattern.h"
#include "lib/prune/pack/convert.h"
#include "lib/prune/pack/near_zeros.h"
#include "lib/prune/pack/pack_weights.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  DataOptions data;
  WriteArgs write;
  std::string input, output, eval, pack = "auto", values;
  double zero_below = 0;
  bool dry_run = false, no_verify = false, list_operators = false, in_place = false;
};

// All that convert is to do: the line, checked.
struct Settings {
  std::string input;
  ConvertOptions options;
  Destination destination;
  EvaluationSource evaluation;
  bool verify = true;
  RunInfo run;
};

std::string why_dense(const Layer& layer, const Weight& weight, const ConvertOptions& options,
                      double zeros) {
  if (!is_float(weight.dtype())) return layer.left_out;
  if (options.pack == ConvertOptions::Pack::kDense) return "stored dense, as requested";
  if (options.pack == ConvertOptions::Pack::kKeep) return "not packed, as requested";
  if (zeros == 0) return "no zeros";
  return layer.left_out.empty() ? "packing would not make it smaller" : layer.left_out;
}

// `layer` as convert selects it: left out for what no option lifts.
LayerResult row_of(const PackedModels& models, const Layer& layer, const Settings& settings) {
  const Weight& before = weight_of(models.before, layer);
  const Weight& after = weight_of(models.packed, layer);
  LayerResult row = layer_row(layer, before, after, settings.destination.write.profile);
  row.left_out.clear();
  const bool diagonal = after.is_sparse() && after.sparse().has_diagonal();
  if (after.is_sparse() || is_float(after.dtype()))
    row.zeros = zero_share(after, layer.fold, diagonal);
  models.give_back(layer);
  if (!after.is_sparse()) {
    const bool sparse_tensor = after.dtype() == DType::kF64 && row.bytes_after < row.bytes_before;
    row.left_out = sparse_tensor ? "not packed: its f64 values are stored as a sparse tensor"
                                 : why_dense(layer, after, settings.options, row.zeros);
  }
  return row;
}

// The layers that select_layers lists by default, each with the reason that convert would have to
// leave it out.
std::vector<Layer> listed_layers(const Model& model) {
  std::map<std::string, std::string> reasons;
  for (const Layer& layer : select_layers(model, packable()))
    reasons[layer.weight] = layer.left_out;
  std::vector<Layer> layers = select_layers(model, {});
  for (Layer& layer : layers) {
    if (const auto found = reasons.find(layer.weight); found != reasons.end())
      layer.left_out = found->second;
  }
  return layers;
}

// The operators that the program translates, from the tables that it translates by.
int list_operators(const Args& args) {
  Table written{"written",
                "ONNX to NNEF",
                {{"onnx", "ONNX"},
                 {"standard", "NNEF standard"},
                 {"tract", "tract"},
                 {"computed", "computed while writing", Unit::kYesNo}},
                {},
                {}};
  for (const nnef::WrittenOperator& row : nnef::written_operators()) {
    written.rows.push_back({row.onnx, cell_or_null(row.standard), cell_or_null(row.tract),
                            row.is_computed ? Cell(true) : Cell()});
  }
  Table read{
      "read",
      "NNEF to ONNX",
      {{"nnef", "NNEF standard"}, {"tract", "tract"}, {"onnx", "ONNX"}, {"body", "expanded to"}},
      {},
      {}};
  for (const nnef::ReadOperator& row : nnef::read_operators()) {
    read.rows.push_back({row.is_standard ? Cell(row.nnef) : Cell(),
                         row.is_standard ? Cell() : Cell(row.nnef), cell_or_null(row.onnx),
                         cell_or_null(row.body)});
  }
  Report report;
  report.title = "Operators of ONNX and NNEF";
  report.head = {
      "How convert translates each operator, in both directions. Where a row has several names, "
      "the first one computes the result and the others shape its inputs and outputs, or each one "
      "covers a different case.",
      "Computed while writing: operators on shapes and other integers whose values are known at "
      "that time. An NNEF operator without an entry is kept: it can be written as NNEF again, and "
      "converting it to ONNX is an error that names it."};
  report.parts = {written, read};
  constexpr size_t kWidth = 250;  // no name is cut
  emit(report, args.common, kWidth);
  return kDone;
}

ConvertOptions convert_options(const Args& args, const std::string& profile) {
  using Pack = ConvertOptions::Pack;
  ConvertOptions options;
  options.values = args.values;
  if (args.pack == "none") {
    options.pack = Pack::kKeep;
  } else if (args.pack != "auto") {
    options.pack = Pack::kBlock;
    options.block = parse_block_shape(args.pack);
  }
  if (profile == "dense") options.pack = Pack::kDense;
  if (args.zero_below > 0) options.zero_below = args.zero_below;
  return options;
}

// Nothing that is read is replaced: told before any work.
CommandFiles checked_files(const Args& args) {
  CommandFiles files;
  files.reads_model("IN", args.input);
  files.reads_data("--eval", args.eval);
  files.reads(args.data);
  if (!args.dry_run) files.writes_model(args.output, args.in_place);
  files.writes(args.common);
  return files;
}

// Errors  before any work: Fault::kUsage.
Settings settings_of(Args args) {
  if (args.input.empty()) throw Error(Fault::kUsage, "IN is missing: the model to convert");
  if (args.in_place && args.output.empty()) args.output = args.input;
  if (args.output.empty() && !args.dry_run)
    throw Error(Fault::kUsage, "OUT is missing: the file to write, or --dry-run");
  check_available("", "", args.values);
  check_data_options(args.data);
  const CommandFiles files = checked_files(args);
  Settings settings;
  settings.input = args.input;
  settings.destination = destination_of(args.output, args.dry_run, args.write, args.values);
  const std::string& profile = settings.destination.write.profile;
  settings.options = convert_options(args, profile);
  if (profile == "dense" && !args.values.empty())
    throw Error(Fault::kUsage,
                "--values sets the type of packed weights, but --profile dense stores none");
  settings.verify = !args.no_verify;
  settings.evaluation = {.path = args.eval.empty() ? args.data.inputs : args.eval,
                         .shapes = settings.destination.write.shapes,
                         .run = settings.verify,
                         .optional = true,
                         .memory = args.write.memory};
  if (!args.data.labels.empty() && settings.evaluation.path.empty())
    throw Error(Fault::kUsage, "--labels requires --eval DATA, the samples that they label");
  settings.run = run_info(files, args.common);
  return settings;
}

PackedModels converted_models(const Model& before, const ConvertOptions& options,
                              ThreadPool& pool) {
  Converted result = converted(before, options, pool);
  PackedModels models;
  // What rounding and new zeros cost is measured like what pruning does.
  models.pruned = !options.values.empty() || options.zero_below;
  models.before = before;
  models.masked = decode_weights(result.zeroed);
  models.packed = std::move(result.packed);
  return models;
}

bool is_packed(const Graph& graph, const std::string& name) {
  return std::ranges::any_of(graph.weights, [&](const auto& entry) {
    return entry.second.is_sparse() && graph.values[entry.first].name == name;
  });
}

// Names of W and R of recurrent operators.
std::vector<std::string> recurrent_weights(const Graph& graph) {
  std::vector<std::string> result;
  for (const Node& node : graph.nodes) {
    if (!is_recurrent(node.op)) continue;
    for (size_t i = 1; i < std::min<size_t>(node.inputs.size(), 3); ++i)
      result.push_back(graph.values[node.inputs[i]].name);
  }
  return result;
}

// Weights that operators make of constants (an exporter's Slice and Concat, a mask that is still
// attached), and those of recurrent layers that are loops, are packed like others; the model stays
// as it was where that packs none of them. NNEF has no loops.
PackedModels uncovered_or_not(Model before, const ConvertOptions& options, bool has_loops,
                              ThreadPool& pool) {
  using Pack = ConvertOptions::Pack;
  const Stage stage("pack");
  if (!has_loops) before = with_recurrent_layers(std::move(before), pool);
  if (options.pack == Pack::kAuto || options.pack == Pack::kBlock) {
    if (espalier::has_loops(before.graph)) {
      const Model layered = with_uncovered_weights(
          with_recurrent_layers(before, pool), pool, Integers::kIfSmaller);
      const std::vector<std::string> weights = recurrent_weights(layered.graph);
      if (weights.size() > recurrent_weights(before.graph).size()) {
        PackedModels models = converted_models(layered, options, pool);
        const bool any = std::ranges::any_of(
            weights, [&](const std::string& name) { return is_packed(models.packed.graph, name); });
        if (any) return models;
      }
    }
    if (const auto uncovered = uncover_weights(before, pool, Integers::kIfSmaller)) {
      PackedModels models = converted_models(uncovered->model, options, pool);
      const bool any = std::ranges::any_of(uncovered->weights, [&](const std::string& name) {
        return is_packed(models.packed.graph, name);
      });
      if (any) return models;
    }
  }
  return converted_models(before, options, pool);
}

// Reads, packs existing zeros as requested, then verifies, writes and reports.
int run(const Args& args) {
  apply_common(args.common);
  if (args.list_operators) return list_operators(args);
  const Settings settings = settings_of(args);
  ThreadPool pool(args.common.threads);
  std::optional<Model> before;
  {
    const Stage stage("read");
    before = read_model(settings.input);
  }
  const Evaluation evaluation =
      read_evaluation(*before, settings.evaluation, args.data, args.common);
  std::optional<double> metric;
  if (!args.data.metric_command.empty() && !settings.destination.dry_run) {
    metric =
        try_metric_command(args.data.metric_command, settings.input, *before, settings.destination);
  }
  const std::filesystem::path& output = settings.destination.output;
  const bool has_loops = output.empty() || format_for_output(output).name != "nnef";
  PackedModels models = uncovered_or_not(std::move(*before), settings.options, has_loops, pool);
  const std::string& profile = settings.destination.write.profile;
  Heading heading{"convert",
                  settings.input,
                  {{"pack", profile == "dense" ? std::string("none") : args.pack},
                   {"values", cell_or_null(args.values)},
                   {"profile", cell_or_null(profile)}},
                  {},
                  {},
                  {},
                  settings.run};
  if (settings.options.zero_below) {
    heading.options.emplace_back("zero_below", *settings.options.zero_below);
  } else {
    const std::string note =
        near_zero_note(models.before, select_layers(models.before, packable()));
    if (!note.empty()) heading.notes.push_back(note);
  }
  std::vector<LayerResult> unstored;
  for (Layer& layer : listed_layers(models.before)) {
    if (stored_weight(models.before, layer) == nullptr) {
      unstored.push_back(unstored_row(layer));
      continue;
    }
    heading.rows.push_back(row_of(models, layer, settings));
    layer.left_out = heading.rows.back().left_out;
    models.layers.push_back(std::move(layer));
  }
  heading.rows.insert(heading.rows.end(), unstored.begin(), unstored.end());
  return finish(models, evaluation, settings.destination, std::move(heading),
                {settings.verify, args.data.metric_command, metric}, args.common);
}

// Declares the arguments.
std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("IN", args->input, "model to convert");
  app.add_option("OUT,-o,--output", args->output,
                 "model to write; the extension selects the format");
  app.add_option(
         "--pack", args->pack,
         "block for packing the zeros of the model: auto (the smallest result), RxC or none (auto)")
      ->type_name("B")
      ->group("What is written");
  app.add_option("--values", args->values,
                 "type of the stored packed values: f32, f16, bf16 or i8 (unchanged)")
      ->type_name("T")
      ->group("What is written");
  app.add_option("--zero-below", args->zero_below,
                 "make zeros of elements of at most R times the largest magnitude of their weight")
      ->type_name("R")
      ->check(CLI::Range(0.0, 1.0))
      ->group("What is written");
  add_write_options(app, args->write);
  add_in_place(app, args->in_place);
  app.add_flag("--list-operators", args->list_operators,
               "list how each operator of ONNX and NNEF is translated, and exit");
  app.add_flag("--no-verify", args->no_verify, "skip running the models and reading OUT back")
      ->group("What is written");
  app.add_flag("--dry-run", args->dry_run, "do everything except writing OUT")
      ->group("What is written");
  app.add_option("--eval", args->eval, "inputs on which the metric is measured")
      ->type_name("DATA")
      ->group("Data");
  add_data_options(app, args->data, "inputs on which the result is verified (random ones)");
  add_metric_options(app, args->data, true);
  add_common(app, args->common);
  add_footer(app,
             "  espalier convert trained_sparse.onnx packed.nnef.tgz\n"
             "  espalier convert trained_sparse.onnx bound.nnef.tgz --shape bands:10,1,32\n"
             "  espalier convert --list-operators\n"
             "  espalier convert packed.nnef.tgz dense.onnx --profile dense");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command convert_command{"convert",
                                        "convert between ONNX and NNEF, dense and packed; values "
                                        "change only with --values and --zero-below",
                                        add};

}  // namespace espalier
