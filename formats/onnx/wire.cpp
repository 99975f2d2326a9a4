#include "formats/onnx/wire.h"

#include <optional>

#include "formats/onnx/proto.h"

namespace espalier {
namespace {

constexpr uint32_t kVarint = 0, kEightBytes = 1, kLength = 2, kGroup = 3, kGroupEnd = 4,
                   kFourBytes = 5;

// Below this, protobuf's own copy costs nothing.
constexpr size_t kLarge = 4096;

void append(std::string& to, Bytes bytes) { to.append(as_text(bytes)); }

void append_field(std::string& to, uint32_t number, std::string_view payload) {
  to += wire_header(number, payload.size());
  to += payload;
}

// Protobuf merges what comes twice: the last raw_data of a tensor wins.
std::string lean_tensor(Bytes tensor, Bytes& data) {
  std::string result;
  for (WireReader reader(tensor); !reader.at_end();) {
    const WireField field = reader.next();
    if (field.number == pb::TensorProto::kRawDataFieldNumber && field.type == kLength) {
      data = field.payload.size() >= kLarge ? field.payload : Bytes();
      if (data.data() != nullptr) continue;
    }
    append(result, tensor.subspan(field.begin, field.end - field.begin));
  }
  return result;
}

std::string lean_graph(Bytes graph, std::vector<Bytes>& data) {
  std::string result;
  for (WireReader reader(graph); !reader.at_end();) {
    const WireField field = reader.next();
    const bool initializer =
        field.number == pb::GraphProto::kInitializerFieldNumber && field.type == kLength;
    if (initializer) data.emplace_back();
    if (initializer && field.payload.size() >= kLarge) {
      append_field(result, field.number, lean_tensor(field.payload, data.back()));
    } else {
      append(result, graph.subspan(field.begin, field.end - field.begin));
    }
  }
  return result;
}

// The wire type that a field of ModelProto has; nothing for fields that onnx does not know.
std::optional<uint32_t> model_field_type(uint32_t number) {
  const auto* field = pb::ModelProto::descriptor()->FindFieldByNumber(static_cast<int>(number));
  if (field == nullptr) return std::nullopt;
  const auto type = field->cpp_type();
  using Field = google::protobuf::FieldDescriptor;
  return type == Field::CPPTYPE_MESSAGE || type == Field::CPPTYPE_STRING ? kLength : kVarint;
}

}  // namespace

uint64_t WireReader::varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (at_end()) {
      throw Error(Fault::kFormat,
                  fmt::format("is truncated inside a number at byte {}", position()));
    }
    const uint64_t byte = rest_.get<uint8_t>("number");
    value |= (byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  throw Error(Fault::kFormat,
              fmt::format("is not protobuf: a number of more than 64 bits at byte {}", position()));
}

// The error says where the field began: what it needs may be gigabytes.
Bytes WireReader::take(uint64_t count, size_t field_at, uint32_t number) {
  if (count > rest_.left()) {
    throw Error(Fault::kFormat,
                fmt::format("is truncated or damaged: field {} at byte {} needs {} bytes, found {}",
                            number, field_at, count, rest_.left()));
  }
  return rest_.take(count, "field");
}

// Reads tag and payload of the next field. A group, with all that is nested in it, is one field
// without payload.
WireField WireReader::next() {
  WireField field;
  field.begin = position();
  size_t open_groups = 0;
  do {
    const size_t begin = position();
    const uint64_t tag = varint();
    const auto number = static_cast<uint32_t>(tag >> 3);
    const auto type = static_cast<uint32_t>(tag & 7);
    if (number == 0 || tag >> 32 != 0 || type > kFourBytes ||
        (type == kGroupEnd && open_groups == 0)) {
      throw Error(Fault::kFormat,
                  fmt::format("is not protobuf: no field starts at byte {}", begin));
    }
    if (open_groups == 0) field.number = number, field.type = type;
    switch (type) {
      case kVarint:
        varint();
        break;
      case kEightBytes:
        take(8, begin, number);
        break;
      case kFourBytes:
        take(4, begin, number);
        break;
      case kGroup:
        ++open_groups;
        break;
      case kGroupEnd:
        --open_groups;
        break;
      default: {
        const uint64_t length = varint();
        const Bytes payload = take(length, begin, number);
        if (open_groups == 0) field.payload = payload;
      }
    }
  } while (open_groups != 0);
  field.end = position();
  return field;
}

std::string wire_header(uint32_t field, uint64_t length) {
  std::string result;
  for (uint64_t value : {uint64_t{field} << 3 | kLength, length}) {
    for (; value >= 0x80; value >>= 7) result += static_cast<char>(value | 0x80);
    result += static_cast<char>(value);
  }
  return result;
}

size_t wire_position(std::string_view message, uint32_t field) {
  WireReader reader(as_bytes(message));
  while (!reader.at_end()) {
    const WireField next = reader.next();
    if (next.number > field) return next.begin;
  }
  return message.size();
}

LeanModel without_large_data(Bytes model) {
  LeanModel result;
  for (WireReader reader(model); !reader.at_end();) {
    const WireField field = reader.next();
    if (field.number == pb::ModelProto::kGraphFieldNumber && field.type == kLength) {
      try {
        append_field(result.bytes, field.number,
                     lean_graph(field.payload, result.initializer_data));
      } catch (Error& error) {
        error.add_context(fmt::format("graph at byte {}", field.begin));
        throw;
      }
    } else {
      append(result.bytes, model.subspan(field.begin, field.end - field.begin));
    }
  }
  return result;
}

bool looks_like_onnx(Bytes bytes) {
  constexpr size_t kFields = 8;
  WireReader reader(bytes);
  bool graph = false;
  for (size_t i = 0; i < kFields && !graph && !reader.at_end(); ++i) {
    // The tag alone: the field itself may be cut off. ModelProto's tags have one or two bytes.
    const auto low = static_cast<uint32_t>(bytes[reader.position()]);
    const bool long_tag = (low & 0x80) != 0 && reader.position() + 1 < bytes.size();
    const uint32_t high = long_tag ? static_cast<uint32_t>(bytes[reader.position() + 1]) : 0;
    const uint32_t tag = long_tag ? (low & 0x7F) | high << 7 : low;
    const auto type = model_field_type(tag >> 3);
    if (type && *type != (tag & 7)) return false;
    if (!type && i == 0) return false;
    graph = tag >> 3 == pb::ModelProto::kGraphFieldNumber;
    try {
      reader.next();
    } catch (const Error&) {
      return type.has_value() && bytes.size() > 1;
    }
  }
  return !bytes.empty();
}

}  // namespace espalier
