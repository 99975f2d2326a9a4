#include <algorithm>
#include <array>
#include <map>

#include "formats/nnef/read/graph.h"
#include "formats/nnef/write/graph.h"
#include "lib/base/error.h"

namespace {

using namespace espalier;

// A label says what its variable is: a letter for the type (f 32, h 16, i 8, u 16, b logical),
// digits for the extents. "u42/index" is u16 [4, 2]. Items count up.
Tensor load(std::string_view label) {
  DType dtype = DType::kF32;
  Shape shape;
  for (const char c : label.substr(0, label.find('/'))) {
    if (c == 'h') dtype = DType::kF16;
    if (c == 'i') dtype = DType::kI8;
    if (c == 'u') dtype = DType::kU16;
    if (c == 'b') dtype = DType::kBool;
    if (c >= '0' && c <= '9' && shape.size() < 5) shape.push_back(c - '0');
  }
  Tensor tensor = Tensor::zeros(dtype, shape);
  const std::span<std::byte> bytes = tensor.mutable_bytes();
  const size_t width = bytes_of(dtype);
  for (size_t i = 0; i < bytes.size(); i += width) {
    bytes[i] = static_cast<std::byte>(dtype == DType::kBool ? i % 2 : i / width);
  }
  return tensor;
}

// Profiles and indices of the writer; the text's length says which.
WriteOptions options_for(std::string_view text) {
  constexpr std::array<std::pair<const char*, const char*>, 8> kWays{{{"tract", "grid"},
                                                                      {"tract", "first-element"},
                                                                      {"tract", "mask"},
                                                                      {"tract", "bitmap"},
                                                                      {"portable", "grid"},
                                                                      {"operator", "grid"},
                                                                      {"opaque", "grid"},
                                                                      {"dense", "grid"}}};
  const auto [profile, index] = kWays[text.size() % kWays.size()];
  WriteOptions options;
  options.profile = profile;
  options.index = index;
  return options;
}

bool is_small(const Model& model) {
  return std::ranges::all_of(model.graph.weights, [](const auto& entry) {
    return element_count(entry.second.shape()) <= size_t{1} << 16;
  });
}

}  // namespace

// What reads must also write, or say why not, and what is written must parse. Its types may be at
// odds with those that the text declared: going by the files, as stock readers do.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Model model;
  try {
    model = nnef::translate(nnef::parse_document(text), load);
  } catch (const Error&) {
    return 0;
  }
  nnef::Spelled written;
  try {
    written = nnef::spell(model, options_for(text));
  } catch (const Error&) {
    return 0;
  }
  const nnef::Document document = nnef::parse_document(written.graph);
  if (!is_small(model)) return 0;
  std::map<std::string, Tensor, std::less<>> variables;
  for (const nnef::Variable& variable : written.variables) {
    variables.emplace(variable.label, variable.make());
  }
  try {
    nnef::translate(document,
                    [&](std::string_view label) { return variables.find(label)->second; });
  } catch (const Error&) {
  }
  return 0;
}
