#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/format.h"
#include "formats/output_ending.h"
#include "lib/base/mapped_file.h"
#include "lib/ops/composites.h"
#include "lib/ops/default_inputs.h"
#include "lib/sparse/pack.h"

namespace espalier {

namespace fs = std::filesystem;

#define ESPALIER_FORMAT(name) extern constinit const Format name##_format;
#include "formats/formats.def"

namespace {

// What the first bytes are, for a file that nobody knows.
std::string first_bytes(Bytes bytes) {
  if (bytes.empty()) return "it is empty";
  if (as_text(bytes).starts_with("PK\x03\x04")) {
    return "it is a zip archive, but NNEF is read from a folder, a tar or a tgz";
  }
  std::string result = "it starts with";
  for (const std::byte byte : bytes.first(std::min<size_t>(bytes.size(), 4)))
    result += fmt::format(" {:02x}", static_cast<unsigned>(byte));
  return result;
}

const Format& format_of(const fs::path& path) {
  std::error_code error;
  const bool folder = fs::is_directory(path, error);
  // Refuses what is missing, a pipe or a device before any format looks at it.
  const auto file = folder ? nullptr : MappedFile::open(path);
  for (const Format* format : formats()) {
    if (format->recognise(path)) return *format;
  }
  throw Error(Fault::kFormat,
              fmt::format("is neither an ONNX nor an NNEF model: {}",
                          folder ? "a folder without graph.nnef" : first_bytes(file->bytes())));
}

// Without defaults of inputs, where what may be fed stays an input, composite operators and functions.
Model without_functions(Model model) {
  model.graph = without_defaults(std::move(model.graph), kept_default_inputs(model.graph));
  model.graph =
      with_composites_expanded(std::move(model.graph), model.origin.opset, Expand::kForFormat);
  return runnable(model);
}

void check_packed_values(const Format& format, const Model& model) {
  for_each_graph(model.graph, [&](const Graph& graph, const std::string& prefix) {
    for (const auto& [value, weight] : graph.weights) {
      if (!weight.is_sparse()) continue;
      try {
        check_values(format, name_of(weight.sparse().values.dtype()));
      } catch (Error& error) {
        error.add_context(fmt::format("weight {}", printable(prefix + graph.values[value].name)));
        throw;
      }
    }
  });
}

}  // namespace

std::span<const Format* const> formats() {
  static constexpr std::array kFormats{
#define ESPALIER_FORMAT(name) &name##_format,
#include "formats/formats.def"
  };
  return kFormats;
}

const Format* find_format(std::string_view name) {
  const auto found = std::ranges::find(formats(), name, &Format::name);
  return found == formats().end() ? nullptr : *found;
}

Model runnable(const Model& model) {
  const Format* format = find_format(model.origin.format);
  if (format == nullptr || format->runnable == nullptr) return model;
  try {
    return format->runnable(model);
  } catch (Error& error) {
    error.add_context(printable(model.origin.file));
    throw;
  }
}

Model read_model(const fs::path& path) {
  try {
    return format_of(path).read(path);
  } catch (Error& error) {
    error.add_context(printable(path.string()));
    throw;
  }
}

Model read_model(Bytes bytes, std::shared_ptr<const void> owner) {
  for (const Format* format : formats())
    if (format->recognise_bytes(bytes)) return format->read_bytes(bytes, std::move(owner));
  throw Error(Fault::kFormat, "is neither an ONNX nor an NNEF model: " + first_bytes(bytes));
}

std::vector<fs::path> model_files(const fs::path& path) {
  try {
    return format_of(path).files(path);
  } catch (const Error&) {
    return {path};  // whoever reads it says what is wrong
  } catch (const fs::filesystem_error&) {
    return {path};
  }
}

const Format& format_for_output(const fs::path& path) {
  check_output_ending(path);
  for (const Format* format : formats()) {
    if (format->writes(path)) return *format;
  }
  throw Error(Fault::kUsage,
              fmt::format("{}: no format has this extension", printable(path.string())));
}

void check_values(const Format& format, std::string_view type) {
  std::vector<std::string_view> known;
  for (const DType dtype : format.values) known.push_back(name_of(dtype));
  if (std::ranges::count(known, type) != 0) return;
  throw Error(Fault::kUnsupported,
              fmt::format("{} files store no packed values of type {}, expected {}", format.name,
                          printable(type), fmt::join(known, " or ")));
}

bool write_model(const Model& model, const fs::path& path, const WriteOptions& options,
                 const AcceptOutput& accept) {
  try {
    const Format& format = format_for_output(path);
    if (options.profile != "dense") check_packed_values(format, model);
    // A format whose models run as they are has nothing else that is ONNX's alone either.
    const bool has_functions = format.runnable != nullptr;
    return format.write(has_functions ? model : without_functions(model), path, options, accept);
  } catch (Error& error) {
    const std::string name = printable(path.string());
    if (!std::string_view(error.what()).starts_with(name)) error.add_context(name);
    throw;
  }
}

bool literals_are_named(const Model& model) {
  const Format* format = find_format(model.origin.format);
  return format == nullptr || format->names_literals;
}

uint64_t stored_bytes(const Weight& weight, std::string_view profile) {
  for (const Format* format : formats()) {
    if (format->stored_bytes != nullptr && std::ranges::count(format->profiles, profile) != 0)
      return format->stored_bytes(weight, profile);
  }
  return weight.is_sparse() && profile != "dense" ? packed_bytes(weight.sparse())
                                                  : byte_count(weight.dtype(), weight.shape());
}

uint64_t size_on_disk(const Model& model) { return model.origin.bytes; }

uint64_t size_on_disk(const fs::path& path) {
  try {
    return format_of(path).bytes_on_disk(path);
  } catch (const fs::filesystem_error& error) {
    throw Error(Fault::kFormat,
                fmt::format("{}: {}", printable(path.string()), error.code().message()));
  } catch (Error& error) {
    error.add_context(printable(path.string()));
    throw;
  }
}

}  // namespace espalier
