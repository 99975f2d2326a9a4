#include "formats/output_ending.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include "lib/base/error.h"

namespace espalier {
namespace {

// Of models, of archives, and of the files that the command line names beside a model: those are
// mistaken for OUT.
constexpr auto kOthers = std::to_array<std::string_view>(
    {".pt",     ".pth",     ".ckpt",      ".safetensors", ".bin",       ".gguf",  ".ggml",
     ".tflite", ".lite",    ".h5",        ".hdf5",        ".keras",     ".pb",    ".pbtxt",
     ".meta",   ".mlmodel", ".mlpackage", ".mlmodelc",    ".ort",       ".xml",   ".engine",
     ".plan",   ".trt",     ".uff",       ".pdmodel",     ".pdiparams", ".param", ".ncnn",
     ".mnn",    ".rknn",    ".dlc",       ".caffemodel",  ".prototxt",  ".pkl",   ".pickle",
     ".joblib", ".mar",     ".onnxtxt",   ".textproto",   ".zip",       ".gz",    ".bz2",
     ".xz",     ".zst",     ".tbz2",      ".txz",         ".7z",        ".rar",   ".npy",
     ".npz",    ".dat",     ".data",      ".json",        ".html",      ".md",    ".csv",
     ".txt",    ".yaml",    ".yml",       ".py"});

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

void check_output_ending(const std::filesystem::path& path) {
  const std::string name = lower(path.filename().string());  // empty after a trailing slash
  if (name.ends_with(".tar.gz")) return;
  const std::string ending = std::filesystem::path(name).extension().string();
  if (std::ranges::find(kOthers, ending) == kOthers.end()) return;
  throw Error(Fault::kUsage,
              fmt::format("{}: models are not written as {} files, expected: .onnx, .nnef.tgz, "
                          ".tgz, .nnef.tar, .tar, or a name without an ending for an NNEF folder",
                          printable(path.string()), ending));
}

}  // namespace espalier
