// The weights of a model file as arrays.
#include <nanobind/stl/string.h>

#include <cstring>

#include "apps/espalier/read_uncovered.h"
#include "apps/python/src/arrays.h"
#include "apps/python/src/failure.h"
#include "lib/prune/select/selection.h"
#include "lib/tensor/layout.h"

namespace nb = nanobind;

namespace espalier::python {
namespace {

struct Found {
  std::string name;
  Tensor dense;
  size_t outputs_axis;
};

// Layers of any size and kind that can be pruned, f32.
std::vector<Found> found_in(const std::string& path) {
  SelectOptions all;
  all.min_weights = 0;
  all.depthwise = true;
  all.force = {""};
  const Model model = read_uncovered(path, 1);
  std::vector<Found> found;
  for (const Layer& layer : select_layers(model, all)) {
    if (!layer.left_out.empty()) continue;
    found.push_back({layer.weight, as_f32(dense_of(weight_of(model, layer))).held(),
                     outputs_axis(layer.shape, layer.fold)});
  }
  return found;
}

// [(name, array, axis of its outputs)]
nb::list weights(const std::string& path) {
  std::vector<Found> found;
  {
    const nb::gil_scoped_release unlock;
    found = found_in(path);
  }
  nb::list result;
  for (const Found& one : found) {
    const Bytes bytes = one.dense.bytes();
    Buffer buffer(bytes.size());
    if (!bytes.empty()) std::memcpy(buffer.data(), bytes.data(), bytes.size());
    result.append(nb::make_tuple(
        one.name,
        buffer.array(ESPALIER_F32, {one.dense.shape().begin(), one.dense.shape().end()}),
        one.outputs_axis));
  }
  return result;
}

}  // namespace

void add_weights(nb::module_& module) { module.def("weights", &weights, nb::arg("path")); }

}  // namespace espalier::python
