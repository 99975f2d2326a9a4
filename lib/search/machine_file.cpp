#include "lib/search/machine_file.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/limits.h"
#include "lib/base/mapped_file.h"
#include "lib/sparse/block_shape.h"

namespace espalier {
namespace {

using Json = nlohmann::json;

constexpr double kMostExtent = 1 << 24;

[[noreturn]] void refuse(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

const Json& member(const Json& object, const char* key, size_t row) {
  const auto found = object.find(key);
  if (found == object.end())
    refuse(fmt::format(
        "kernels[{}]: \"{}\" is missing, expected a file of `bench --kernels --json`", row, key));
  return *found;
}

double number(const Json& object, const char* key, size_t row, double least, double most) {
  const Json& value = member(object, key, row);
  const double result = value.is_number() ? value.get<double>() : NAN;
  if (!(result >= least && result <= most))
    refuse(fmt::format("kernels[{}].{}: expected a number from {} to {}", row, key, least, most));
  return result;
}

std::string text(const Json& object, const char* key, size_t row) {
  const Json& value = member(object, key, row);
  if (!value.is_string()) refuse(fmt::format("kernels[{}].{}: expected a string", row, key));
  return value.get<std::string>();
}

// Deep nesting takes far more memory than text.
Json parsed(std::string_view text) {
  if (text.size() > limits::machine_bytes) {
    refuse(fmt::format("the text has {} bytes, expected at most {}", text.size(),
                       limits::machine_bytes));
  }
  const auto watch = [](int depth, Json::parse_event_t, Json&) {
    constexpr int kMaxDepth = limits::machine_nesting;
    if (depth > kMaxDepth) refuse(fmt::format("nested deeper than {} levels", kMaxDepth));
    return true;
  };
  return Json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
}

KernelResult row_from(const Json& json, size_t row) {
  if (!json.is_object()) refuse(fmt::format("kernels[{}]: expected an object", row));
  KernelResult result;
  result.kernel = text(json, "kernel", row);
  result.block = text(json, "block", row);
  try {
    parse_block_shape(result.block);
  } catch (const Error& error) {
    refuse(fmt::format("kernels[{}].block: {}", row, error.what()));
  }
  result.dtype = text(json, "dtype", row);
  result.m = static_cast<size_t>(number(json, "m", row, 1, kMostExtent));
  result.k = static_cast<size_t>(number(json, "k", row, 1, kMostExtent));
  result.n = static_cast<size_t>(number(json, "n", row, 1, kMostExtent));
  result.sparsity = number(json, "sparsity", row, 0, 1);
  result.threads = static_cast<size_t>(number(json, "threads", row, 1, 65536));
  const double least = 1e-9, most = 1e9;
  if (result.sparsity == 1) return result;  // nothing is multiplied: no rate
  result.gflops_nonzero = number(json, "gflops_nonzero", row, least, most);
  result.speedup_vs_dense = number(json, "speedup_vs_dense", row, least, most);
  return result;
}

}  // namespace

// Reads the JSON file of `bench --kernels` and checks every member that the prediction uses.
KernelResults read_machine(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  try {
    const Json json = parsed(as_text(file->bytes()));
    const auto kernels = json.is_object() ? json.find("kernels") : json.end();
    if (!json.is_object() || kernels == json.end() || !kernels->is_array() || kernels->empty())
      refuse("\"kernels\" is missing or not a list: expected the JSON file of `bench --kernels`");
    KernelResults results;
    if (const auto machine = json.find("machine"); machine != json.end() && machine->is_object()) {
      results.machine.processor = machine->value("processor", "");
      results.machine.simd = machine->value("simd", "");
      results.machine.threads = machine->value("threads", size_t{1});
    }
    for (size_t row = 0; row < kernels->size(); ++row)
      results.kernels.push_back(row_from((*kernels)[row], row));
    return results;
  } catch (Json::exception&) {
    Error error(Fault::kFormat, "\"machine\": expected processor, simd and threads");
    error.add_context(printable(path.string(), 4096));
    throw error;
  } catch (Error& error) {
    error.add_context(printable(path.string(), 4096));
    throw;
  }
}

}  // namespace espalier
