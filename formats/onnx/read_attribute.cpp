#include "formats/onnx/read_attribute.h"

#include <fmt/format.h>

#include <array>

#include "formats/onnx/sparse_tensor.h"

namespace espalier {
namespace {

using pb::AttributeProto;

// A scalar field may be missing, which means zero: then the type stays among the leftovers as a
// sign of it.
void take_scalar(AttributeProto& proto, Attribute& attribute) {
  bool present = true;
  switch (proto.type()) {
    case AttributeProto::INT:
      attribute.value = proto.i();
      present = proto.has_i();
      proto.clear_i();
      break;
    case AttributeProto::FLOAT:
      attribute.value = proto.f();
      present = proto.has_f();
      proto.clear_f();
      break;
    default:
      attribute.value = proto.s();
      present = proto.has_s();
      proto.clear_s();
      break;
  }
  if (present) proto.clear_type();
}

template <typename Field>
auto taken(Field* field) {
  std::vector<typename Field::value_type> result(field->begin(), field->end());
  field->Clear();
  return result;
}

// Moves the value of an attribute from its message; what espalier does not understand stays there.
void take_value(AttributeProto& proto, Attribute& attribute, GraphSource& source,
                const KnownNames& scope) {
  switch (proto.type()) {
    case AttributeProto::INT:
    case AttributeProto::FLOAT:
    case AttributeProto::STRING:
      return take_scalar(proto, attribute);
    case AttributeProto::INTS:
      attribute.value = taken(proto.mutable_ints());
      return proto.clear_type();
    case AttributeProto::FLOATS:
      attribute.value = taken(proto.mutable_floats());
      return proto.clear_type();
    case AttributeProto::STRINGS:
      attribute.value = taken(proto.mutable_strings());
      return proto.clear_type();
    case AttributeProto::TENSOR:
      if (!proto.has_t()) return;
      attribute.value = take_tensor(*proto.mutable_t(), source.external);
      if (proto.t().ByteSizeLong() == 0) proto.clear_t();
      return proto.clear_type();
    case AttributeProto::GRAPH:
      if (!proto.has_g()) return;
      attribute.value =
          std::make_shared<const Graph>(read_graph(*proto.mutable_g(), source, &scope));
      proto.clear_g();
      return proto.clear_type();
    case AttributeProto::UNDEFINED:
      throw Error(Fault::kFormat, "has no type, or one that ONNX does not define");
    default:
      return;  // stays whole among the leftovers
  }
}

template <typename T>
Tensor list_tensor(const std::vector<T>& values) {
  return Tensor::of<T>({static_cast<int64_t>(values.size())}, values);
}

Tensor string_tensor(Shape shape, const std::vector<std::string>& texts) {
  pb::TensorProto proto;
  proto.mutable_dims()->Assign(shape.begin(), shape.end());
  proto.set_data_type(pb::TensorProto::STRING);
  for (const std::string& text : texts) proto.add_string_data(text);
  ExternalFiles none(std::nullopt);
  return take_tensor(proto, none);
}

struct ToTensor {
  Tensor operator()(const Tensor& tensor) const { return tensor; }
  Tensor operator()(int64_t value) const { return Tensor::of<int64_t>({}, std::array{value}); }
  Tensor operator()(float value) const { return Tensor::of<float>({}, std::array{value}); }
  Tensor operator()(const std::vector<int64_t>& values) const { return list_tensor(values); }
  Tensor operator()(const std::vector<float>& values) const { return list_tensor(values); }
  Tensor operator()(const std::string& text) const { return string_tensor({}, {text}); }
  Tensor operator()(const std::vector<std::string>& texts) const {
    return string_tensor({static_cast<int64_t>(texts.size())}, texts);
  }
  template <typename T>
  Tensor operator()(const T&) const {
    throw Error(Fault::kFormat, "is of a kind that Constant does not have");
  }
};

// The kind of value that each attribute of Constant has, as an index into Attribute::Value.
constexpr std::array<std::pair<std::string_view, size_t>, 7> kConstantAttributes{{
    {"value", 4},
    {"value_int", 1},
    {"value_float", 2},
    {"value_string", 3},
    {"value_ints", 5},
    {"value_floats", 6},
    {"value_strings", 7},
}};
constexpr std::string_view kSparseValue = "sparse_value";

Weight take_sparse_constant(Attribute& attribute, ExternalFiles& external) {
  AttributeProto proto;
  proto.ParseFromString(attribute.extra);
  if (!proto.has_sparse_tensor() || proto.type() != AttributeProto::SPARSE_TENSOR)
    throw Error(Fault::kFormat, "is not a sparse tensor");
  auto value = take_sparse_tensor(*proto.mutable_sparse_tensor(), external);
  Weight weight{std::move(value), kSparseValueOrigin + proto.sparse_tensor().SerializeAsString()};
  proto.clear_sparse_tensor();
  proto.clear_type();
  attribute.extra = proto.SerializeAsString();
  return weight;
}

struct PutValue {
  AttributeProto& proto;
  bool zero_is_absent;  // see take_scalar

  void operator()(std::monostate) const {}
  void operator()(int64_t value) const {
    proto.set_type(AttributeProto::INT);
    if (value != 0 || !zero_is_absent) proto.set_i(value);
  }
  void operator()(float value) const {
    proto.set_type(AttributeProto::FLOAT);
    if (value != 0 || !zero_is_absent) proto.set_f(value);
  }
  void operator()(const std::string& value) const {
    proto.set_type(AttributeProto::STRING);
    if (!value.empty() || !zero_is_absent) proto.set_s(value);
  }
  void operator()(const Tensor& value) const {
    proto.set_type(AttributeProto::TENSOR);
    *proto.mutable_t() = complete(stored_tensor(value, std::move(*proto.mutable_t())));
  }
  void operator()(const std::vector<int64_t>& values) const {
    proto.set_type(AttributeProto::INTS);
    proto.mutable_ints()->Assign(values.begin(), values.end());
  }
  void operator()(const std::vector<float>& values) const {
    proto.set_type(AttributeProto::FLOATS);
    proto.mutable_floats()->Assign(values.begin(), values.end());
  }
  void operator()(const std::vector<std::string>& values) const {
    proto.set_type(AttributeProto::STRINGS);
    proto.mutable_strings()->Assign(values.begin(), values.end());
  }
  void operator()(const std::shared_ptr<const Graph>&) const {}  // the graph's writer does this
};

}  // namespace

bool is_constant_attribute(std::string_view name) {
  if (name == kSparseValue) return true;
  for (const auto& [known, kind] : kConstantAttributes) {
    if (known == name) return true;
  }
  return false;
}

Attribute take_attribute(AttributeProto& proto, GraphSource& source, const KnownNames& scope) {
  Attribute attribute;
  attribute.name = proto.name();
  proto.clear_name();
  try {
    // Only bodies of functions may refer to attributes, and those are not read.
    if (proto.ref_attr_name().empty()) take_value(proto, attribute, source, scope);
  } catch (Error& error) {
    error.add_context(fmt::format("attribute {}", printable(attribute.name)));
    throw;
  }
  attribute.extra = proto.SerializeAsString();
  return attribute;
}

AttributeProto put_attribute(const Attribute& attribute, bool own_extra) {
  AttributeProto proto;
  if (own_extra && !attribute.extra.empty()) proto.ParseFromString(attribute.extra);
  const bool zero_is_absent = proto.has_type();
  proto.set_name(attribute.name);
  std::visit(PutValue{proto, zero_is_absent}, attribute.value);
  return proto;
}

Weight take_constant(Attribute& attribute, ExternalFiles& external) {
  try {
    if (attribute.name == kSparseValue) return take_sparse_constant(attribute, external);
    for (const auto& [name, kind] : kConstantAttributes) {
      if (name == attribute.name && kind != attribute.value.index())
        throw Error(Fault::kFormat, "has a value of another kind than its name");
    }
    Weight weight{std::visit(ToTensor{}, attribute.value), {}};
    attribute.value = std::monostate{};
    return weight;
  } catch (Error& error) {
    error.add_context(fmt::format("attribute {}", printable(attribute.name)));
    throw;
  }
}

}  // namespace espalier
