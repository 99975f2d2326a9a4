#pragma once

#include "formats/onnx/read_graph.h"

namespace espalier {

/// Moves name and value out of `proto`; what stays goes to Attribute::extra (all of it, with a
/// value of monostate, for kinds that Attribute does not have). Errors name the attribute.
Attribute take_attribute(pb::AttributeProto& proto, GraphSource& source, const KnownNames& scope);

/// The attribute word for word, but for the value where the IR holds it elsewhere (`without_value`:
/// a Constant's, in Graph::weights).
pb::AttributeProto put_attribute(const Attribute& attribute, bool own_extra);

/// The value of a Constant node's attribute, moved out of it.
Weight take_constant(Attribute& attribute, ExternalFiles& external);

/// For subgraphs, defined in read_graph.cpp.
Graph read_graph(pb::GraphProto& proto, GraphSource& source, const KnownNames* outer);

}  // namespace espalier
