#include "lib/search/cost_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "lib/base/error.h"
#include "lib/tensor/dtype.h"

namespace espalier {
namespace {

// How many times the one is as large as the other.
double distance(size_t a, size_t b) {
  return std::abs(std::log(static_cast<double>(a) / static_cast<double>(b)));
}

}  // namespace

// A line through the times of the product at several sparsities, from the rows of `machine` that
// are nearest in n, then in size.
TimeLine predict(const KernelResults& machine, BlockShape block, size_t m, size_t k, size_t n,
                 std::string_view dtype) {
  const std::string name = to_string(block);
  std::vector<const KernelResult*> rows;
  for (const KernelResult& row : machine.kernels) {
    if (row.block == name && row.dtype == dtype && row.gflops_nonzero > 0) rows.push_back(&row);
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

MeasuredChoice measured_choice(KernelResults machine) {
  // A choice is copied for each weight: the measurement is not.
  const auto rows = std::make_shared<const KernelResults>(std::move(machine));
  return [rows](const SparseMatrix& weight, size_t n) -> std::optional<bool> {
    const std::string block = to_string(weight.block);
    const std::string_view dtype = name_of(weight.values.dtype());
    if (std::ranges::none_of(rows->kernels, [&](const KernelResult& row) {
          return row.block == block && row.dtype == dtype && row.gflops_nonzero > 0;
        }))
      return std::nullopt;
    const TimeLine line = predict(*rows, weight.block, weight.fold.parts * weight.fold.rows,
                                  weight.fold.cols, n, dtype);
    return line.packed(1 - density(weight)) <= line.dense;
  };
}

}  // namespace espalier
