#pragma once

#include <map>
#include <string>
#include <string_view>

#include "lib/ir/model.h"

namespace espalier {

/// Whether a dimension's name is one: exporters write '?' and the like where an extent has none.
bool is_dimension_name(std::string_view name);

/// Binds free dimensions of the graph's inputs. `shapes`: input -> shape, where -1 leaves an extent
/// as it is. A named dimension is one extent of the model: it is bound for every input that shares
/// the name. Dimensions that were bound have no name any more.
/// Errors  Fault::kUsage: no such input, a shape that does not fit the declared one, a name bound to
/// two extents.
void bind_free_dimensions(Graph& graph, const std::map<std::string, Shape>& shapes);

}  // namespace espalier
