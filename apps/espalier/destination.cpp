#include "apps/espalier/destination.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"

namespace espalier {
namespace {

// Who reads a file next: the profiles that this program reads, the one to write first. Measured:
// docs/formats/sparse-onnx.md, docs/formats/sparse-nnef.md and docs/interop.md.
struct FileReader {
  std::string_view name;
  std::vector<std::string_view> onnx, nnef;  ///< empty: not that format
};

const std::vector<FileReader>& file_readers() {
  static const std::vector<FileReader> kReaders{
      {"onnxruntime",
       {"inline", "function", "operator", "region", "sparse-value", "sparse-initializer", "dense"},
       {}},
      {"tract", {}, {"tract", "operator", "portable", "dense"}},
      {"openvino", {"inline", "sparse-value", "dense"}, {}},
      {"deepsparse", {"inline", "dense"}, {}},
      {"espalier",
       {"function", "inline", "operator", "region", "sparse-value", "sparse-initializer", "dense"},
       {"opaque", "tract", "operator", "portable", "dense"}}};
  return kReaders;
}

// The profile for that reader; `profile` is what else was asked for. A dry run without a name is
// one of the reader's first format.
std::string profile_for(const std::string& reader, const std::filesystem::path& output,
                        const std::string& profile) {
  const auto found = std::ranges::find(file_readers(), reader, &FileReader::name);
  if (found == file_readers().end()) {
    std::vector<std::string_view> names;
    for (const FileReader& known : file_readers()) names.push_back(known.name);
    throw Error(Fault::kUsage, fmt::format("--for {}: unknown, expected one of {}",
                                           printable(reader), fmt::join(names, ", ")));
  }
  const bool onnx =
      output.empty() ? !found->onnx.empty() : format_for_output(output).name == "onnx";
  const std::vector<std::string_view>& profiles = onnx ? found->onnx : found->nnef;
  if (profiles.empty()) {
    throw Error(Fault::kUsage,
                fmt::format("--for {}: {} is written as {}, expected {}", reader,
                            printable(output.string()), onnx ? "ONNX" : "NNEF",
                            onnx ? "an NNEF name: .nnef.tgz, .tgz, .nnef.tar, .tar or a folder"
                                 : "a name that ends in .onnx"));
  }
  if (profile.empty()) return std::string(profiles.front());
  if (std::ranges::count(profiles, std::string_view(profile)) == 0) {
    throw Error(Fault::kUsage, fmt::format("--for {} and --profile {} contradict each other: "
                                           "expected profile {}",
                                           reader, printable(profile), fmt::join(profiles, ", ")));
  }
  return profile;
}

std::string resolved_profile(const std::filesystem::path& output, const WriteArgs& args) {
  const std::string& profile = args.profile;
  if (!profile.empty() && !output.empty()) {
    const Format& format = format_for_output(output);
    if (std::ranges::count(format.profiles, std::string_view(profile)) == 0) {
      throw Error(Fault::kUsage,
                  fmt::format("--profile {}: expected a profile of {} files: {}",
                              printable(profile), format.name, fmt::join(format.profiles, ", ")));
    }
  }
  if (!args.reader.empty()) return profile_for(args.reader, output, profile);
  if (!profile.empty() || output.empty()) return profile;
  return std::string(format_for_output(output).profiles.front());
}

void check_values_of(const std::filesystem::path& output, const std::string& profile,
                     const std::string& values) {
  if (output.empty() || values.empty() || profile == "dense") return;
  try {
    for (const std::string& one :
         values == "auto" ? std::vector<std::string>{"f16", "i8"} : std::vector{values})
      check_values(format_for_output(output), one);
  } catch (Error& error) {
    error.add_context("--values " + values);
    throw;
  }
}

}  // namespace

Destination destination_of(const std::string& output, bool dry_run, const WriteArgs& args,
                           const std::string& values) {
  if (output.empty() && !dry_run)
    throw Error(Fault::kUsage, "OUT is missing: the file to write, or --dry-run");
  Destination result{output, dry_run, {}};
  result.write.profile = resolved_profile(output, args);
  check_values_of(output, result.write.profile, values);
  result.write.index = args.index;
  // OpenVINO wants their weights constant before it computes sums that run along an axis (CumSum).
  result.write.recurrent_pairs = args.reader == "openvino" && args.index.empty();
  result.write.stages = args.reader == "onnxruntime";
  result.write.keep_io_names = args.keep_io_names;
  result.write.shapes = input_shapes(args.shapes);
  return result;
}

}  // namespace espalier
