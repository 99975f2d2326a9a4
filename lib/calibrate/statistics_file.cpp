#include "lib/calibrate/statistics_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/base/checked_math.h"
#include "lib/base/error.h"
#include "lib/base/fnv1a.h"
#include "lib/base/limits.h"
#include "lib/base/mapped_file.h"
#include "lib/base/output_file.h"
#include "lib/tensor/made_once.h"

namespace espalier {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kStart = R"({"__metadata__":{"format":"espalier-statistics",)";
constexpr std::string_view kVersion = "1", kWithInputs = "2";
constexpr size_t kMaxHeader = limits::statistics_header_bytes;  // what safetensors allows
constexpr size_t kMaxInputs = limits::statistics_inputs;

[[noreturn]] void refuse(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

// ---- writing

// Names of tensors: those of weights may hold anything, so tensors are numbered.
std::string tensor_name(size_t layer, size_t input, const char* what) {
  return fmt::format("{}.{}.{}", layer, input, what);
}

class Header {
 public:
  void add(const std::string& name, const char* dtype, const Shape& shape, size_t bytes) {
    json_[name] = {
        {"dtype", dtype}, {"shape", shape}, {"data_offsets", {offset_, offset_ + bytes}}};
    offset_ += bytes;
  }

  /// Length and JSON, filled up with spaces so that the data begin at a multiple of 8. `inputs`:
  /// null where none are kept.
  std::string bytes(const OrderedJson& layers, const OrderedJson& inputs) {
    OrderedJson all;
    all["__metadata__"] = {{"format", "espalier-statistics"},
                           {"version", inputs.is_null() ? kVersion : kWithInputs},
                           {"layers", layers.dump(-1, ' ', true)}};
    if (!inputs.is_null()) all["__metadata__"]["inputs"] = inputs.dump(-1, ' ', true);
    all.update(json_);
    std::string text = all.dump(-1, ' ', true);
    text.resize(ceil_div(text.size(), 8) * 8, ' ');
    const uint64_t length = text.size();
    std::string result(sizeof(length), '\0');
    std::memcpy(result.data(), &length, sizeof(length));
    return result + text;
  }

 private:
  OrderedJson json_ = OrderedJson::object();
  size_t offset_ = 0;
};

// Names from a model may be no UTF-8: they are written byte by byte, as numbers would be in hex.
std::string hex(std::string_view text) {
  std::string result;
  for (const char c : text) result += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return result;
}

OrderedJson layer_json(const LayerStatistics& layer) {
  OrderedJson json{{"weight", printable(layer.weight, 4096)},
                   {"name", hex(layer.weight)},
                   {"fingerprint", fmt::format("{:016x}", layer.fingerprint)}};
  json["inputs"] = OrderedJson::array();
  for (const InputMoments& input : layer.inputs) {
    json["inputs"].push_back(
        {{"first_part", input.first_part}, {"parts", input.parts}, {"samples", input.samples}});
  }
  return json;
}

struct TypeName {
  DType dtype;
  const char* name;
};
// As safetensors calls them.
constexpr auto kTypeNames = std::to_array<TypeName>({{DType::kF64, "F64"},
                                                     {DType::kF32, "F32"},
                                                     {DType::kF16, "F16"},
                                                     {DType::kBF16, "BF16"},
                                                     {DType::kI64, "I64"},
                                                     {DType::kI32, "I32"},
                                                     {DType::kI16, "I16"},
                                                     {DType::kI8, "I8"},
                                                     {DType::kU64, "U64"},
                                                     {DType::kU32, "U32"},
                                                     {DType::kU16, "U16"},
                                                     {DType::kU8, "U8"},
                                                     {DType::kBool, "BOOL"}});

const char* type_name(DType dtype) {
  const auto found = std::ranges::find(kTypeNames, dtype, &TypeName::dtype);
  return found == kTypeNames.end() ? nullptr : found->name;
}

bool can_be_kept(const KeptInputs& inputs) {
  return std::ranges::all_of(inputs.feeds, [](const Feed& feed) {
    return std::ranges::all_of(
        feed, [](const auto& one) { return type_name(one.second.dtype()) != nullptr; });
  });
}

std::string feed_tensor_name(size_t feed, size_t input) {
  return fmt::format("inputs.{}.{}", feed, input);
}

// The names of what is fed, and how many feeds there are of how many.
OrderedJson inputs_json(const KeptInputs& inputs, Header& header) {
  if (inputs.of == 0) return nullptr;
  OrderedJson json{{"feeds", can_be_kept(inputs) ? inputs.feeds.size() : 0}, {"of", inputs.of}};
  json["names"] = OrderedJson::array();
  json["states"] = OrderedJson::array();
  json["mask"] = hex(inputs.token_mask);
  for (const auto& [input, output] : inputs.states)
    json["states"].push_back({hex(input), hex(output)});
  if (!can_be_kept(inputs) || inputs.feeds.empty()) return json;
  for (const auto& [name, tensor] : inputs.feeds.front()) json["names"].push_back(hex(name));
  for (size_t f = 0; f < inputs.feeds.size(); ++f) {
    size_t i = 0;
    for (const auto& [name, tensor] : inputs.feeds[f])
      header.add(feed_tensor_name(f, i++), type_name(tensor.dtype()), tensor.shape(),
                 tensor.byte_size());
  }
  return json;
}

std::string header_of(const Statistics& statistics, const KeptInputs& inputs) {
  Header header;
  OrderedJson layers = OrderedJson::array();
  for (size_t i = 0; i < statistics.layers.size(); ++i) {
    layers.push_back(layer_json(statistics.layers[i]));
    const auto& moments = statistics.layers[i].inputs;
    for (size_t j = 0; j < moments.size(); ++j) {
      const Tensor &second = moments[j].second, &mean = moments[j].mean;
      header.add(tensor_name(i, j, "second"), "F64", second.shape(), second.byte_size());
      header.add(tensor_name(i, j, "mean"), "F64", mean.shape(), mean.bytes().size());
    }
  }
  const OrderedJson kept = inputs_json(inputs, header);
  header.add("checksum", "U64", {1}, sizeof(uint64_t));
  return header.bytes(layers, kept);
}

// ---- reading

// A tensor's bytes as the header places them, in order and without holes.
class Tensors {
 public:
  Tensors(const Json& header, Bytes data, std::shared_ptr<const void> owner)
      : header_(header), data_(data), owner_(std::move(owner)) {}

  Tensor take(const std::string& name, DType dtype, const Shape& shape) {
    const auto entry = header_.find(name);
    if (entry == header_.end()) refuse(fmt::format("tensor {} is missing", name));
    const size_t bytes = byte_count(dtype, shape);
    const Json wanted = {
        {"dtype", type_name(dtype)}, {"shape", shape}, {"data_offsets", {next_, next_ + bytes}}};
    if (*entry != wanted) {
      refuse(fmt::format("tensor {} is {}, expected {}", name, printable(entry->dump(), 120),
                         wanted.dump()));
    }
    const Bytes part = data_.take(bytes, fmt::format("tensor {}", name));
    next_ += bytes;
    ++taken_;
    return {dtype, shape, part, owner_};
  }
  size_t taken() const { return taken_; }
  size_t end() const { return next_; }

 private:
  const Json& header_;
  ByteReader data_;
  std::shared_ptr<const void> owner_;
  size_t next_ = 0, taken_ = 0;
};

uint64_t count_of(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (found == json.end() || !found->is_number_unsigned())
    refuse(fmt::format("\"{}\" is not an integer", key));
  return found->get<uint64_t>();
}

std::string text_of(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (found == json.end() || !found->is_string())
    refuse(fmt::format("\"{}\" is not a string", key));
  return found->get<std::string>();
}

std::string from_hex(const std::string& text, const char* key) {
  std::string result;
  const auto digit = [&](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    refuse(fmt::format("\"{}\" is not a hexadecimal string", key));
  };
  if (text.size() % 2 != 0) refuse(fmt::format("\"{}\" is not a hexadecimal string", key));
  for (size_t i = 0; i < text.size(); i += 2)
    result += static_cast<char>(digit(text[i]) * 16 + digit(text[i + 1]));
  return result;
}

// How many inputs a weight has is what the header says of its mean: one number.
size_t inputs_of(const Json& header, const std::string& name) {
  const auto entry = header.find(name);
  if (entry == header.end() || !entry->is_object() || !entry->contains("shape"))
    refuse(fmt::format("tensor {} is missing", name));
  const Json& shape = entry->at("shape");
  if (!shape.is_array() || shape.size() != 1 || !shape[0].is_number_unsigned())
    refuse(fmt::format("tensor {} is not a vector", name));
  const auto count = shape[0].get<uint64_t>();
  if (count == 0 || count > kMaxInputs)
    refuse(fmt::format("tensor {} has {} elements, expected 1 to {}", name, count, kMaxInputs));
  return count;
}

void check_finite(const Tensor& tensor, const std::string& name) {
  const auto values = tensor.data<double>();
  if (!std::ranges::all_of(values, [](double v) { return std::isfinite(v); }))
    refuse(fmt::format("tensor {} contains infinities or NaN", name));
}

// Layer `number` of the header's list, with its tensors from the data.
LayerStatistics read_layer(const Json& json, size_t number, const Json& header, Tensors& tensors) {
  LayerStatistics layer;
  layer.weight = from_hex(text_of(json, "name"), "name");
  const std::string print = from_hex(text_of(json, "fingerprint"), "fingerprint");
  if (print.size() != 8) refuse("\"fingerprint\" is not 64 bits long");
  for (const char c : print) layer.fingerprint = layer.fingerprint << 8 | static_cast<uint8_t>(c);
  const auto inputs = json.find("inputs");
  if (inputs == json.end() || !inputs->is_array()) refuse("\"inputs\" is not an array");
  for (size_t j = 0; j < inputs->size(); ++j) {
    const Json& input = (*inputs)[j];
    const std::string mean = tensor_name(number, j, "mean");
    const std::string second = tensor_name(number, j, "second");
    const auto side = static_cast<int64_t>(inputs_of(header, mean));
    InputMoments moments;
    moments.first_part = count_of(input, "first_part");
    moments.parts = count_of(input, "parts");
    moments.samples = count_of(input, "samples");
    moments.second = tensors.take(second, DType::kF64, {side, side});
    moments.mean = tensors.take(mean, DType::kF64, {side});
    check_finite(moments.second, second);
    check_finite(moments.mean, mean);
    layer.inputs.push_back(std::move(moments));
  }
  return layer;
}

// Type and shape as the header says, which take() then compares with where the bytes are.
Tensor read_kept(const std::string& name, const Json& header, Tensors& tensors) {
  const auto entry = header.find(name);
  if (entry == header.end() || !entry->is_object())
    refuse(fmt::format("tensor {} is missing", name));
  const std::string type = text_of(*entry, "dtype");
  const auto found = std::ranges::find(kTypeNames, type, &TypeName::name);
  if (found == kTypeNames.end())
    refuse(fmt::format("tensor {} is of type {}", name, printable(type)));
  const auto shape = entry->find("shape");
  constexpr size_t kMaxRank = 64;
  if (shape == entry->end() || !shape->is_array() || shape->size() > kMaxRank)
    refuse(fmt::format("tensor {} has no shape", name));
  Shape extents;
  for (const Json& extent : *shape) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > INT64_MAX)
      refuse(fmt::format("tensor {} has a shape that is not of extents", name));
    extents.push_back(extent.get<int64_t>());
  }
  return tensors.take(name, found->dtype, extents);
}

std::vector<std::string> texts_of(const Json& json, const char* what) {
  if (!json.is_array()) refuse(fmt::format("\"{}\" is not an array", what));
  std::vector<std::string> texts;
  for (const Json& text : json) {
    if (!text.is_string()) refuse(fmt::format("\"{}\" contains other things than texts", what));
    texts.push_back(from_hex(text.get<std::string>(), what));
  }
  return texts;
}

KeptInputs read_inputs(const Json& json, const Json& header, Tensors& tensors) {
  KeptInputs inputs;
  const uint64_t feeds = count_of(json, "feeds");
  inputs.of = count_of(json, "of");
  if (feeds > inputs.of) refuse(fmt::format("{} feeds are kept of {}", feeds, inputs.of));
  inputs.token_mask = from_hex(text_of(json, "mask"), "mask");
  const auto names = json.find("names"), states = json.find("states");
  if (names == json.end() || states == json.end() || !states->is_array())
    refuse("\"names\" or \"states\" is missing");
  for (const Json& state : *states) {
    const std::vector<std::string> pair = texts_of(state, "states");
    if (pair.size() != 2) refuse("\"states\" is not an array of pairs");
    inputs.states[pair[0]] = pair[1];
  }
  const std::vector<std::string> fed = texts_of(*names, "names");
  if (feeds > 0 && fed.empty()) refuse("\"names\" is empty");
  for (size_t f = 0; f < feeds; ++f) {
    Feed& feed = inputs.feeds.emplace_back();
    for (size_t i = 0; i < fed.size(); ++i)
      feed[fed[i]] = read_kept(feed_tensor_name(f, i), header, tensors);
    if (feed.size() != fed.size()) refuse("\"names\" has a name twice");
  }
  return inputs;
}

Json parse(std::string_view text) {
  static constexpr int kMaxDepth = limits::statistics_nesting;
  const auto watch = [](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) refuse(fmt::format("nested deeper than {} levels", kMaxDepth));
    return true;
  };
  Json json;
  try {
    json = Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::exception&) {
    refuse("the header is not JSON");
  }
  if (!json.is_object() && !json.is_array()) refuse("the header is not an object");
  return json;
}

// The whole file: header, layers, checksum over all before it. Refuses tensors and bytes that no
// layer names.
StatisticsFile parse_file(const std::shared_ptr<const MappedFile>& file) {
  ByteReader reader(file->bytes());
  const auto length = reader.get<uint64_t>("header length");
  if (length > kMaxHeader || length % 8 != 0)
    refuse(fmt::format("the header is {} bytes long, expected a multiple of 8 up to {}", length,
                       kMaxHeader));
  const std::string_view text = as_text(reader.take(length, "header"));
  if (!text.starts_with(kStart)) refuse("does not start like a statistics file");
  const Json header = parse(text);
  const Json& metadata = header.at("__metadata__");
  const std::string version = text_of(metadata, "version");
  if (version != kVersion && version != kWithInputs)
    refuse(
        fmt::format("version is {}, expected {} or {}", printable(version), kVersion, kWithInputs));

  const Bytes data = reader.rest();
  Tensors tensors(header, data, file);
  StatisticsFile result;
  Statistics& statistics = result.statistics;
  const Json layers = parse(text_of(metadata, "layers"));
  if (!layers.is_array()) refuse("\"layers\" is not an array");
  for (const Json& layer : layers) {
    statistics.layers.push_back(read_layer(layer, statistics.layers.size(), header, tensors));
  }
  if (version == kWithInputs)
    result.inputs = read_inputs(parse(text_of(metadata, "inputs")), header, tensors);
  const size_t summed = 8 + length + tensors.end();
  const Tensor checksum = tensors.take("checksum", DType::kU64, {1});
  if (tensors.taken() + 1 != header.size()) refuse("the header describes other tensors too");
  if (tensors.end() != data.size())
    refuse(fmt::format("{} bytes follow the last tensor", data.size() - tensors.end()));
  // What the kept inputs take need not be a multiple of its size.
  if (checksum.aligned().data<uint64_t>()[0] != fnv1a(file->bytes().first(summed)))
    refuse("the checksum does not match: the file was changed or truncated");
  return result;
}

}  // namespace

void write_statistics(const std::filesystem::path& path, const Statistics& statistics,
                      const KeptInputs& inputs) {
  OutputFiles files;
  files.add(path);
  uint64_t checksum = fnv1a({});
  const auto put = [&](Bytes bytes) {
    checksum = fnv1a(bytes, checksum);
    files.write(bytes);
  };
  put(as_bytes(header_of(statistics, inputs)));
  for (const LayerStatistics& layer : statistics.layers) {
    for (const InputMoments& input : layer.inputs) {
      put(made_once(input.second).bytes());
      put(input.mean.bytes());
    }
  }
  if (can_be_kept(inputs)) {
    for (const Feed& feed : inputs.feeds) {
      for (const auto& [name, tensor] : feed) put(tensor.bytes());
    }
  }
  files.write(std::as_bytes(std::span(&checksum, 1)));
  files.commit();
}

Statistics read_statistics(const std::filesystem::path& path) {
  return read_statistics_file(path).statistics;
}

StatisticsFile read_statistics_file(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  try {
    return parse_file(file);
  } catch (Error& error) {
    error.add_context(printable(path.string()));
    throw;
  }
}

bool is_statistics_file(const std::filesystem::path& path) {
  std::error_code fault;
  if (!std::filesystem::is_regular_file(path, fault)) return false;
  const auto file = MappedFile::open(path);
  const std::string_view text = as_text(file->bytes());
  return text.size() > 8 && text.substr(8).starts_with(kStart);
}

}  // namespace espalier
