#include "apps/espalier/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "lib/base/error.h"
#include "lib/passes/pass.h"
#include "lib/prune/score/criterion.h"
#include "lib/search/cost_model.h"
#include "lib/search/machine_file.h"

namespace espalier {
namespace {

std::vector<std::string> methods() {
  std::vector<std::string> names;
  for (const Criterion* criterion : criteria()) names.emplace_back(criterion->name);
  return names;
}

Shape parse_shape(const std::string& option, const std::string& text) {
  Shape shape;
  const char separator = text.find(',') == std::string::npos ? 'x' : ',';
  for (const std::string& part : CLI::detail::split(text, separator)) {
    int64_t extent = -1;
    const auto [end, fault] = std::from_chars(part.data(), part.data() + part.size(), extent);
    const bool number = fault == std::errc() && end == part.data() + part.size() && extent > 0;
    if (!number && part != "?")
      throw Error(Fault::kUsage, fmt::format("{}: '{}' is not an extent", option, printable(part)));
    shape.push_back(number ? extent : -1);
  }
  return shape;
}

void check_one(const char* option, const std::string& value,
               const std::vector<std::string>& there) {
  if (value.empty() || std::ranges::count(there, value) != 0) return;
  throw Error(Fault::kUsage, fmt::format("{} {}: unknown, expected one of {}", option,
                                         printable(value), fmt::join(there, ", ")));
}

}  // namespace

// Options of every command that writes a model.
void add_write_options(CLI::App& app, WriteArgs& args) {
  app.add_option(
         "--profile", args.profile,
         "how packed weights are written; NNEF: tract, portable, operator, opaque or dense "
         "(tract); ONNX: inline, function, operator, region, sparse-value, sparse-initializer or "
         "dense (inline)")
      ->type_name("P")
      ->group("What is written");
  app.add_option("--for", args.reader,
                 "who reads OUT next, in place of --profile: onnxruntime, openvino, deepsparse "
                 "(ONNX), tract (NNEF) or espalier (the fewest bytes)")
      ->type_name("READER")
      ->group("What is written");
  app.add_option(
         "--index", args.index,
         "how the positions of blocks are written: grid, pairs of numbers; bitmap, one bit "
         "for each block of the grid; first-element; or mask, a dense 0/1 mask (NNEF) (grid "
         "or bitmap, whichever takes fewer bytes)")
      ->type_name("I")
      ->check(CLI::IsMember({"grid", "first-element", "mask", "bitmap"}))
      ->group("What is written");
  app.add_flag(
         "--keep-io-names", args.keep_io_names,
         "refuse input and output names that the format cannot store instead of renaming them")
      ->group("What is written");
  app.add_flag_callback(
         "--deterministic", [] {},
         "no effect: the same model always gives the same bytes, archives included")
      ->group("What is written");
  app.add_option("--input-shape,--shape", args.shapes,
                 "bind the free dimensions of an input, ? leaves one free; NAME:D,D,... is "
                 "equivalent; repeatable")
      ->type_name("NAME=DxDx...")
      ->allow_extra_args(false)
      ->group("What is written");
  app.add_option("--memory", args.memory,
                 "memory of the runs that check the output: a model that needs more is compared "
                 "weight by weight (half of what is available, for weights of up to 1 GiB)")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(true))
      ->group("What is written");
}

std::map<std::string, Shape> input_shapes(const std::vector<std::string>& texts) {
  std::map<std::string, Shape> result;
  for (const std::string& text : texts) {
    const size_t place = text.find_last_of("=:");
    const std::string option = "--input-shape " + printable(text);
    if (place == std::string::npos || place == 0)
      throw Error(Fault::kUsage, option + ": expected NAME=DxDx... or NAME:D,D,...");
    result.insert_or_assign(text.substr(0, place), parse_shape(option, text.substr(place + 1)));
  }
  return result;
}

void check_available(const std::string& method, const std::string& scope, const std::string& values,
                     bool may_choose) {
  check_one("--method", method, methods());
  check_one("--scope", scope, {"layer", "global", "sensitivity"});
  std::vector<std::string> types{"f32", "f16", "bf16", "i8"};
  if (may_choose) types.emplace_back("auto");
  check_one("--values", values, types);
}

std::string method_help() {
  return fmt::format("{}: criterion that scores blocks (obs with --calib, else l2)",
                     fmt::join(methods(), ", "));
}

void add_pass_options(CLI::App& app, std::vector<std::string>& names) {
  std::vector<std::string_view> known;
  for (const Pass* pass : passes()) known.push_back(pass->name);
  app.add_option("--no-pass", names,
                 fmt::format("disable this graph pass; repeatable: {}", fmt::join(known, ", ")))
      ->type_name("NAME")
      ->allow_extra_args(false);
}

void add_machine(CLI::App& app, std::string& file) {
  app.add_option("--machine", file,
                 "measurement of this machine by `bench --kernels --json F`: packed weights run "
                 "packed or dense, whichever it says is faster (default: a built-in table)")
      ->type_name("F");
}

MeasuredChoice measured_by(const std::string& file) {
  return file.empty() ? MeasuredChoice() : measured_choice(read_machine(file));
}

void add_tolerance(CLI::App& app, Tolerance& tolerance) {
  // A NaN is no number in this range.
  const CLI::Range range(0.0, 1e30);
  const auto named = [&tolerance](const std::string&) { tolerance.by_type = false; };
  app.add_option("--abs", tolerance.abs,
                 "absolute tolerance per element (1e-4; f16 4e-3, bf16 3e-2)")
      ->type_name("D")
      ->check(range)
      ->each(named);
  app.add_option("--rel", tolerance.rel,
                 "tolerance per element relative to its size, added to the absolute one (the same)")
      ->type_name("D")
      ->check(range)
      ->each(named);
}

}  // namespace espalier
