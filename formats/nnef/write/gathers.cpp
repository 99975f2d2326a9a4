// Operators that pick elements by indices or values: all of tract's registry.
#include <fmt/format.h>

#include <array>

#include "formats/nnef/write/operators.h"

namespace espalier::nnef {

void spell_gather(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const int64_t axis = n.axis(int_attribute(n.node, "axis", 0), x.extents->size());
  const auto extent = (*x.extents)[static_cast<size_t>(axis)].constant();
  const auto indices = n.integers(1);
  if (indices && indices->shape.empty() && indices->values[0].constant()) {
    // One place: a slice without its axis.
    int64_t place = *indices->values[0].constant();
    if (place < 0) {
      if (!extent) n.fail("an index from the end of a free dimension: bind it (--input-shape)");
      place += *extent;
    }
    if (place < 0 || (extent && place >= *extent)) n.fail("the index is out of range");
    return n.set(0, n.text.squeeze(n.text.slice(x, axis, place, place + 1), {axis}, n.id()));
  }
  const Wire places = n.ranked(1);
  Extents extents(x.extents->begin(), x.extents->begin() + axis);
  extents.insert(extents.end(), places.extents->begin(), places.extents->end());
  extents.insert(extents.end(), x.extents->begin() + axis + 1, x.extents->end());
  n.set(fmt::format("tract_core_gather({}, {}, axis = {})", x.id, places.id, axis), extents,
        x.dtype);
}

void spell_gather_elements(NodeWriter& n) {
  const Wire x = n.ranked(0), places = n.ranked(1);
  const int64_t axis = n.axis(int_attribute(n.node, "axis", 0), x.extents->size());
  n.set(fmt::format("tract_core_gather_elements({}, {}, axis = {})", x.id, places.id, axis),
        places.extents, x.dtype);
}

void spell_gather_nd(NodeWriter& n) {
  const Wire x = n.ranked(0), places = n.ranked(1);
  const int64_t batch = int_attribute(n.node, "batch_dims", 0);
  const auto width = places.extents->empty() ? std::nullopt : places.extents->back().constant();
  const auto rank = static_cast<int64_t>(x.extents->size());
  if (!width || *width < 1 || batch < 0 || batch + *width > rank) {
    n.fail("indices and batch_dims do not fit the input");
  }
  Extents extents(places.extents->begin(), places.extents->end() - 1);
  extents.insert(extents.end(), x.extents->begin() + batch + *width, x.extents->end());
  n.set(fmt::format("tract_core_gather_nd({}, {}, batch_dims = {})", x.id, places.id, batch),
        extents, x.dtype);
}

void spell_scatter_nd(NodeWriter& n) {
  const std::string reduction = string_attribute(n.node, "reduction", "none");
  if (reduction != "none") {
    n.fail(fmt::format("reduction '{}' is not supported", printable(reduction)));
  }
  const Wire x = n.wire(0);
  const std::string places = n.wire(1).id, updates = n.wire(2).id;
  n.set(fmt::format("tract_core_scatter_nd({}, {}, {})", x.id, places, updates), x.extents,
        x.dtype);
}

void spell_scatter_elements(NodeWriter& n) {
  const std::string reduction = string_attribute(n.node, "reduction", "none");
  if (reduction != "none") {
    n.fail(fmt::format("reduction '{}' is not supported", printable(reduction)));
  }
  const Wire x = n.ranked(0);
  const int64_t axis = n.axis(int_attribute(n.node, "axis", 0), x.extents->size());
  const std::string places = n.wire(1).id, updates = n.wire(2).id;
  n.set(fmt::format("tract_core_scatter_elements({}, {}, {}, axis = {})", x.id, places, updates,
                    axis),
        x.extents, x.dtype);
}

void spell_top_k(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const int64_t axis = n.axis(int_attribute(n.node, "axis", -1), x.extents->size());
  const std::vector<int64_t> k = n.constants(1);
  if (k.size() != 1) n.fail("k is not a single integer");
  Extents extents = *x.extents;
  extents[static_cast<size_t>(axis)] = Dim(k[0]);
  std::array<std::string, 2> ids;
  for (size_t i = 0; i < 2; ++i) ids[i] = n.wants(i) ? n.id(i) : n.fresh("unused");
  n.text.assign(ids, fmt::format("tract_core_topk({}, {}, axis = {}, largest = {})", x.id, k[0],
                                 axis, int_attribute(n.node, "largest", 1) != 0));
  for (size_t i = 0; i < 2; ++i) {
    if (n.wants(i)) n.set(i, Wire{ids[i], extents, i == 0 ? x.dtype : DType::kI64});
  }
}

void spell_trilu(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const std::vector<int64_t> k = n.has(1) ? n.constants(1) : std::vector<int64_t>{0};
  if (k.size() != 1) n.fail("k is not a single integer");
  n.set(fmt::format("tract_core_trilu({}, {}, upper = {})", x.id, k[0],
                    int_attribute(n.node, "upper", 1) != 0),
        x.extents, x.dtype);
}

void spell_is_inf(NodeWriter& n) {
  const Wire x = n.wire(0);
  n.set(fmt::format("tract_core_is_inf({}, detect_positive = {}, detect_negative = {})", x.id,
                    int_attribute(n.node, "detect_positive", 1) != 0,
                    int_attribute(n.node, "detect_negative", 1) != 0),
        x.extents, DType::kBool);
}

void spell_is_nan(NodeWriter& n) {
  const Wire x = n.wire(0);
  n.set(fmt::format("tract_core_is_nan({})", x.id), x.extents, DType::kBool);
}

}  // namespace espalier::nnef
