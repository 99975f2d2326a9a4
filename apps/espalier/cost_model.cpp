#include "apps/espalier/cost_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/limits.h"
#include "lib/base/mapped_file.h"

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

// How many times the one is as large as the other.
double distance(size_t a, size_t b) {
  return std::abs(std::log(static_cast<double>(a) / static_cast<double>(b)));
}

}  // namespace

std::optional<double> TimeLine::break_even() const {
  if (packed(0) <= dense) return 0.0;
  if (packed(1) >= dense || per_density <= 0) return std::nullopt;
  return 1 - (dense - fixed) / per_density;
}

TimeLine fit_line(double dense, const std::vector<TimePoint>& packed) {
  double count = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (const TimePoint& point : packed) {
    const double density = 1 - point.sparsity;
    ++count, x += density, y += point.ms, xx += density * density, xy += density * point.ms;
  }
  const double spread = count * xx - x * x;
  if (spread < 1e-12) return {dense, 0, x > 0 ? y / x : 0};
  TimeLine line{dense, 0, (count * xy - x * y) / spread};
  line.fixed = (y - line.per_density * x) / count;
  // Noise: time neither falls where more is kept nor begins below nothing.
  if (line.per_density < 0) return {dense, y / count, 0};
  if (line.fixed < 0) return {dense, 0, y / x};
  return line;
}

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

// A line through the times of the product at several sparsities, from the rows of `machine` that
// are nearest in n, then in size.
TimeLine predict(const KernelResults& machine, BlockShape block, size_t m, size_t k, size_t n) {
  const std::string name = to_string(block);
  std::vector<const KernelResult*> rows;
  for (const KernelResult& row : machine.kernels) {
    if (row.block == name && row.dtype == "f32" && row.gflops_nonzero > 0) rows.push_back(&row);
  }
  if (rows.empty()) {
    throw Error(Fault::kUnsupported,
                fmt::format("block {} is not measured: `espalier bench --kernels --block {} --n "
                            "1,4,16,64 --json F` measures it",
                            name, name));
  }
  const auto nearer = [&](const KernelResult* a, const KernelResult* b) {
    const auto key = [&](const KernelResult* row) {
      return std::pair(distance(row->n, n), distance(row->m * row->k, m * k));
    };
    return key(a) < key(b);
  };
  const KernelResult nearest = **std::ranges::min_element(rows, nearer);
  const double operations =
      2e-6 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
  std::vector<TimePoint> points;
  double dense = 0;
  for (const KernelResult* row : rows) {
    if (row->n != nearest.n || row->m != nearest.m || row->k != nearest.k) continue;
    const double ms = operations * (1 - row->sparsity) / row->gflops_nonzero;
    points.push_back({row->sparsity, ms});
    dense += ms * row->speedup_vs_dense;
  }
  return fit_line(dense / static_cast<double>(points.size()), points);
}

}  // namespace espalier
