#include <numeric>

#include "formats/nnef/read_graph.h"
#include "formats/nnef/write_graph.h"
#include "lib/base/error.h"

namespace {

using namespace espalier;

// A label says what its variable is: a letter for the type (f 32, h 16, i 8, u 16), digits for the
// extents. "u42/index" is u16 [4, 2]. Items count up.
Tensor load(std::string_view label) {
  DType dtype = DType::kF32;
  Shape shape;
  for (const char c : label.substr(0, label.find('/'))) {
    if (c == 'h') dtype = DType::kF16;
    if (c == 'i') dtype = DType::kI8;
    if (c == 'u') dtype = DType::kU16;
    if (c >= '0' && c <= '9' && shape.size() < 5) shape.push_back(c - '0');
  }
  Tensor tensor = Tensor::zeros(dtype, shape);
  const std::span<std::byte> bytes = tensor.mutable_bytes();
  const size_t width = bytes_of(dtype);
  for (size_t i = 0; i < bytes.size(); i += width) bytes[i] = static_cast<std::byte>(i / width);
  return tensor;
}

}  // namespace

// What reads must also write, or say why not, and what is written must be read again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Model model;
  try {
    model = nnef::translate(nnef::parse_document(text), load);
  } catch (const Error&) {
    return 0;
  }
  std::string written;
  try {
    written = nnef::spell(model, {}).graph;
  } catch (const Error&) {
    return 0;
  }
  nnef::parse_document(written);
  return 0;
}
