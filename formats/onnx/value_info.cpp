#include "formats/onnx/value_info.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/onnx/data_type.h"

namespace espalier {
namespace {

void read_shape(const pb::TensorShapeProto& proto, Value& value) {
  Shape shape;
  bool named = false;
  std::vector<std::string> names;
  for (const auto& dim : proto.dim()) {
    const bool known = dim.has_dim_value() && dim.dim_value() >= 0;
    shape.push_back(known ? dim.dim_value() : -1);
    names.push_back(dim.has_dim_param() ? dim.dim_param() : "");
    named = named || !names.back().empty();
  }
  value.shape = std::move(shape);
  if (named) value.dimension_names = std::move(names);
}

std::string kind_of(const pb::TypeProto& type) {
  switch (type.value_case()) {
    case pb::TypeProto::kSequenceType:
      return "sequence";
    case pb::TypeProto::kMapType:
      return "map";
    case pb::TypeProto::kOptionalType:
      return "optional";
    case pb::TypeProto::kSparseTensorType:
      return "sparse tensor";
    default:
      return "";  // nothing is said
  }
}

pb::ValueInfoProto plain(const Value& value) {
  pb::ValueInfoProto proto;
  proto.set_name(value.name);
  auto* type = proto.mutable_type()->mutable_tensor_type();
  type->set_elem_type(onnx_from_dtype(value.dtype));
  if (!value.shape) return proto;
  auto* shape = type->mutable_shape();
  for (size_t i = 0; i < value.shape->size(); ++i) {
    auto* dim = shape->add_dim();
    const bool named = i < value.dimension_names.size() && !value.dimension_names[i].empty();
    if ((*value.shape)[i] >= 0) {
      dim->set_dim_value((*value.shape)[i]);
    } else if (named) {
      dim->set_dim_param(value.dimension_names[i]);
    }
  }
  return proto;
}

bool says_the_same(const pb::ValueInfoProto& proto, const Value& value) {
  const Value other = value_from_onnx(proto);
  return other.name == value.name && other.dtype == value.dtype && other.shape == value.shape &&
         other.dimension_names == value.dimension_names;
}

}  // namespace

Value value_from_onnx(const pb::ValueInfoProto& proto) {
  Value value;
  value.name = proto.name();
  if (!proto.type().has_tensor_type()) {
    value.no_tensor = kind_of(proto.type());
    return value;
  }
  const auto& type = proto.type().tensor_type();
  if (type.elem_type() != pb::TensorProto::UNDEFINED) {
    try {
      value.dtype = dtype_from_onnx(type.elem_type());
    } catch (Error& error) {
      error.add_context(fmt::format("value {}", printable(proto.name())));
      throw;
    }
  }
  if (type.has_shape()) read_shape(type.shape(), value);
  return value;
}

void keep_leftovers(Value& value, const pb::ValueInfoProto& proto) {
  std::string original = proto.SerializeAsString();
  if (plain(value).SerializeAsString() != original) value.extra = std::move(original);
}

pb::ValueInfoProto onnx_from_value(const Value& value, bool own_extra) {
  if (own_extra && !value.extra.empty()) {
    pb::ValueInfoProto original;
    if (original.ParseFromString(value.extra) && says_the_same(original, value)) return original;
  }
  if (value.dtype == DType::kUnknown) {
    throw Error(Fault::kUnsupported,
                fmt::format("the type of input or output {} is not known, ONNX requires one",
                            printable(value.name)));
  }
  return plain(value);
}

}  // namespace espalier
