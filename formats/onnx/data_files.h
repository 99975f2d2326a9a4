#pragma once

#include <filesystem>
#include <vector>

namespace espalier {

/// The files with external data that the ONNX file `model` refers to, below its folder, whether
/// they are there or not; each name once. The weights are not looked at.
/// Errors  Fault::kFormat: it cannot be read, is cut off or damaged.
std::vector<std::filesystem::path> data_files_of(const std::filesystem::path& model);

/// Those of them that may go when `model` does: plain files to which no other ONNX file refers,
/// neither one of the folder that they are in nor a .onnx file of a folder above that. A damaged
/// .onnx file refers to those that its bytes name; one that cannot be read may refer to any, so
/// then there are none; nor are there where `model` is a link.
std::vector<std::filesystem::path> data_files_of_alone(const std::filesystem::path& model);

}  // namespace espalier
