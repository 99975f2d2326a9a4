#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/kernels/sparse/measured_choice.h"
#include "lib/tensor/shape.h"
#include "lib/verify/compare.h"

namespace CLI {
class App;
}

namespace espalier {

/// --profile, --for, --index, --keep-io-names, --input-shape and --memory as they are given.
struct WriteArgs {
  std::string profile, index;  ///< "" = the default
  std::string reader;          ///< --for: who reads the file next; "" = anybody
  bool keep_io_names = false;
  std::vector<std::string> shapes;
  std::optional<uint64_t> memory;  ///< --memory: of runs that check what is written
};
/// Declares them, for every command that writes a model.
void add_write_options(CLI::App& app, WriteArgs& args);

/// NAME=DxDx... or NAME:D,D,... as --input-shape takes it; "?" leaves an extent free.
/// Errors  Fault::kUsage.
std::map<std::string, Shape> input_shapes(const std::vector<std::string>& texts);

/// Errors  Fault::kUsage for a method, scope or value type that is not there yet, naming what is.
/// `may_choose`: auto is one.
void check_available(const std::string& method, const std::string& scope, const std::string& values,
                     bool may_choose = false);

std::string method_help();

/// --no-pass.
/// Errors  Fault::kUsage from passes_without(names), where the command runs.
void add_pass_options(CLI::App& app, std::vector<std::string>& names);

/// --machine of commands that run a model: a measurement of this machine by `bench --kernels --json`.
void add_machine(CLI::App& app, std::string& file);
/// The choice by that file; none where `file` is "". Errors  as read_machine().
MeasuredChoice measured_by(const std::string& file);

/// --abs and --rel.
void add_tolerance(CLI::App& app, Tolerance& tolerance);

}  // namespace espalier
