#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/options.h"
#include "apps/espalier/pack_job.h"
#include "formats/nnef/operator_list.h"
#include "lib/report/report.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  DataOptions data;
  std::string input, output, eval, pack = "auto", profile, index, values;
  std::vector<std::string> shapes;
  bool dry_run = false, no_verify = false, list_operators = false, keep_io_names = false,
       in_place = false;
};

std::string why_dense(const Layer& layer, const Weight& weight, const Args& args, double zeros) {
  if (!is_float(weight.dtype())) return layer.left_out;
  if (args.profile == "dense") return "stored dense, as requested";
  if (args.pack == "none") return "not packed, as requested";
  return zeros == 0 ? "no zeros" : "packing would not make it smaller";
}

LayerResult row_of(const PackJob& job, const Layer& layer, const Args& args) {
  const Weight& before = weight_of(job.before, layer);
  const Weight& after = weight_of(job.packed, layer);
  LayerResult row = layer_row(layer, before, after, args.profile);
  row.left_out.clear();
  const bool diagonal = after.is_sparse() && after.sparse().has_diagonal();
  if (after.is_sparse() || is_float(after.dtype()))
    row.zeros = zero_share(after, layer.fold, diagonal);
  if (!after.is_sparse()) {
    const bool sparse_tensor = after.dtype() == DType::kF64 && row.bytes_after < row.bytes_before;
    row.left_out = sparse_tensor ? "not packed: its f64 values are stored as a sparse tensor"
                                 : why_dense(layer, after, args, row.zeros);
  }
  return row;
}

// Dense where the profile stores no packed weights; else what is there already stays, and zeros
// are packed as asked, in values of the type asked for.
Model packed_of(const Model& model, const Args& args, const std::string& profile,
                ThreadPool& pool) {
  const Stage stage("pack");
  if (profile == "dense") return decode_weights(model);
  if (args.pack == "none") return with_packed_values(model, args.values);
  if (args.pack == "auto")
    return with_packed_values(pack_existing(model, std::nullopt, pool), args.values);
  return with_packed_values(pack_existing(model, parse_block_shape(args.pack), pool), args.values);
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

// Nothing that is read is replaced: told before any work.
void check_files(const Args& args) {
  CommandFiles files;
  files.reads_model("IN", args.input);
  files.reads_data("--eval", args.eval);
  files.reads(args.data);
  if (!args.dry_run) files.writes_model(args.output, args.in_place);
  files.writes(args.common);
}

// Reads, packs existing zeros as requested, then verifies, writes and reports.
int run(Args args) {
  apply_common(args.common);
  if (args.list_operators) return list_operators(args);
  if (args.input.empty()) throw Error(Fault::kUsage, "IN is missing: the model to convert");
  if (args.in_place && args.output.empty()) args.output = args.input;
  if (args.output.empty() && !args.dry_run)
    throw Error(Fault::kUsage, "OUT is missing: the file to write, or --dry-run");
  if (args.pack != "auto" && args.pack != "none") parse_block_shape(args.pack);
  check_available("", "", args.values);
  check_files(args);
  ThreadPool pool(args.common.threads);
  PackJob job;
  job.command = "convert";
  job.input = args.input;
  job.output = args.output;
  job.dry_run = args.dry_run;
  job.verify = !args.no_verify;
  job.pruned = !args.values.empty();  // what rounding costs is measured like what pruning does
  args.profile = job.write.profile = resolved_profile(args.output, args.profile);
  if (args.profile == "dense" && !args.values.empty())
    throw Error(Fault::kUsage,
                "--values sets the type of packed weights, but --profile dense stores none");
  check_values_of(args.output, args.profile, args.values);
  if (!args.index.empty()) job.write.index = args.index;
  job.write.keep_io_names = args.keep_io_names;
  job.write.shapes = input_shapes(args.shapes);
  job.data = args.data;
  job.data_path = args.eval.empty() ? args.data.inputs : args.eval;
  if (!args.data.labels.empty() && job.data_path.empty())
    throw Error(Fault::kUsage, "--labels requires --eval DATA, the samples that they label");
  {
    const Stage stage("read");
    job.before = read_model(args.input);
  }
  job.packed = packed_of(job.before, args, args.profile, pool);
  job.masked = decode_weights(job.before);
  job.options = {{"pack", args.profile == "dense" ? std::string("none") : args.pack},
                 {"values", cell_or_null(args.values)},
                 {"profile", cell_or_null(args.profile)}};
  for (const Layer& layer : select_layers(job.before, {})) {
    job.rows.push_back(row_of(job, layer, args));
    job.layers.push_back(layer);
  }
  return finish(std::move(job), args.common);
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
  add_write_options(app, args->profile, args->index, args->keep_io_names, args->shapes);
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

constinit const Command convert_command{
    "convert", "convert between ONNX and NNEF, dense and packed; values change only with --values",
    add};

}  // namespace espalier
