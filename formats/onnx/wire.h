#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/byte_reader.h"

namespace espalier {

/// One field of a protobuf message as it lies in the bytes.
struct WireField {
  uint32_t number = 0;
  uint32_t type = 0;  ///< 0 varint, 1 eight bytes, 2 length and payload, 3 group, 5 four bytes
  size_t begin = 0, end = 0;  ///< tag included
  Bytes payload;              ///< of type 2
};

/// Walks the fields of a message without parsing it: big payloads are neither read nor copied.
/// Source  protobuf.dev, "Encoding".
class WireReader {
 public:
  explicit WireReader(Bytes message) : message_(message), rest_(message) {}
  bool at_end() const { return rest_.left() == 0; }
  size_t position() const { return message_.size() - rest_.left(); }
  /// Errors  Fault::kFormat naming the byte at which the message is cut off or is no protobuf.
  WireField next();

 private:
  uint64_t varint();
  Bytes take(uint64_t count, size_t field_at, uint32_t number);
  Bytes message_;
  ByteReader rest_;
};

/// Tag of a length-delimited field and the length.
std::string wire_header(uint32_t field, uint64_t length);

/// Where a field of that number belongs in a serialised message whose fields ascend.
size_t wire_position(std::string_view message, uint32_t field);

/// A serialised ModelProto with the large raw_data of the main graph's initializers taken out, so
/// that parsing the rest is cheap and the weights stay in the mapped file.
struct LeanModel {
  std::string bytes;
  std::vector<Bytes> initializer_data;  ///< per initializer; data() is null where `bytes` holds it
};

/// Errors  as WireReader::next.
LeanModel without_large_data(Bytes model);

/// Whether the bytes start like a ModelProto (a damaged one counts, so that it gets a better error
/// than "unknown format").
bool looks_like_onnx(Bytes bytes);

}  // namespace espalier
