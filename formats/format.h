#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/output_file.h"
#include "lib/ir/model.h"

namespace espalier {

/// Version of domain ai.espalier: how packed weights are spelled in files. A file that names a newer
/// one is refused.
inline constexpr int64_t kPackedVersion = 1;
/// Errors  Fault::kUnsupported for a version above kPackedVersion.
inline void check_packed_version(int64_t version) {
  if (version > kPackedVersion)
    throw Error(Fault::kUnsupported,
                fmt::format("has packed weights of version {} of domain ai.espalier, this espalier "
                            "reads up to {}: it needs a newer version",
                            version, kPackedVersion));
}

/// How a packed weight and its index are spelled in a file (docs/formats).
struct WriteOptions {
  std::string profile;         ///< "" = the format's default: tract (NNEF), inline (ONNX)
  std::string index = "grid";  ///< or "bitmap", "first-element", "mask"; "": what is smaller
  /// Weights of GRU, LSTM and RNN take pairs where a bitmap would be smaller, or are stored dense.
  bool recurrent_pairs = false;
  /// ONNX, inline: large bitmaps of elements are decoded in stages, which only onnxruntime folds, and
  /// large blocks take bitmaps: what onnxruntime needs least memory for.
  bool stages = false;
  bool keep_io_names = false;  ///< an input or output that cannot keep its name is an error
  /// Input name -> shape that binds its free dimensions (-1: stays free).
  std::map<std::string, Shape> shapes;
};

struct ModelFacts;

/// A file format. `read` gets the path that the user named (a folder for unpacked NNEF).
struct Format {
  std::string_view name, summary;
  std::span<const std::string_view> profiles;  ///< the first is the default
  std::span<const DType> values;               ///< what values of packed weights may be stored as
  /// By content, never by name.
  bool (*recognise)(const std::filesystem::path& path);
  Model (*read)(const std::filesystem::path& path);
  /// The same for a file that is in memory; `owner` keeps `bytes` alive.
  bool (*recognise_bytes)(Bytes bytes);
  Model (*read_bytes)(Bytes bytes, std::shared_ptr<const void> owner);
  /// What model_files() gives, for a file that the format recognises.
  std::vector<std::filesystem::path> (*files)(const std::filesystem::path& path);
  /// By ending. One format takes every name that no other wants (NNEF: a folder).
  bool (*writes)(const std::filesystem::path& path);
  /// Errors  before anything is written: Fault::kUnsupported naming operator and node that the
  /// format cannot spell. False where `accept` said no.
  bool (*write)(const Model& model, const std::filesystem::path& path, const WriteOptions& options,
                const AcceptOutput& accept);
  /// Bytes of the file or folder at `path`, with those of other files that it names.
  uint64_t (*bytes_on_disk)(const std::filesystem::path& path);
  /// What a file of that profile, one of `profiles`, holds of a weight; null: dense elements, or
  /// packed_bytes() of a packed weight where the profile is not "dense".
  uint64_t (*stored_bytes)(const Weight& weight, std::string_view profile);
  /// See runnable() below; null: models of this format are run as they are.
  Model (*runnable)(const Model& model);
  /// Null: a file of this format says nothing besides its graph (formats/model_facts.h).
  ModelFacts (*facts)(const Model& model);
  bool names_literals;  ///< integers and single numbers keep their names as weights in a file
};

std::span<const Format* const> formats();
/// Null where there is none of that name.
const Format* find_format(std::string_view name);

/// Errors  Fault::kFormat / kUnsupported with the file's name in front.
Model read_model(const std::filesystem::path& path);
/// A file that is in memory: ONNX without external data, NNEF as .tar or .tgz.
Model read_model(Bytes bytes, std::shared_ptr<const void> owner);

/// The path itself, which comes first, and all files that the model consists of besides: external
/// data, the files of a folder. Of a file that is missing or damaged what can be told.
std::vector<std::filesystem::path> model_files(const std::filesystem::path& path);

/// Writes a model that appears whole, or not at all: `accept` may read it first, under another
/// name, and refuse it. False where it did.
bool write_model(const Model& model, const std::filesystem::path& path,
                 const WriteOptions& options = {}, const AcceptOutput& accept = {});

/// The model as the runtime wants it: operators that it lacks and the format can spell with others
/// are replaced by those (functions of ONNX). For running; what is written is `model` itself.
Model runnable(const Model& model);

/// Whether integers and single numbers have names in files of the format that the model came from.
bool literals_are_named(const Model& model);

/// Errors  Fault::kUnsupported where files of that format hold no packed values of the type that is
/// called so, with those that they hold.
void check_values(const Format& format, std::string_view type);

/// The format that write_model would use. Errors  as check_output_ending (output_ending.h).
const Format& format_for_output(const std::filesystem::path& path);

/// What a file of that profile holds of the weight, headers apart.
uint64_t stored_bytes(const Weight& weight, std::string_view profile = "");

/// Bytes of a file, or of all files below a folder; with the other files that it names.
uint64_t size_on_disk(const Model& model);
uint64_t size_on_disk(const std::filesystem::path& path);

}  // namespace espalier
