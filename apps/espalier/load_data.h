#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lib/verify/data.h"

namespace espalier {

/// What a DATA argument names: a folder with input_NAME.npy, a .npz with those names (with or
/// without "input_"), one .npy for a model with one input, a test_data_set folder with input_K.pb,
/// or a folder with several of these (a model's own). Outputs stored beside them are `expected`.
/// Errors  Fault::kFormat naming the file.
DataSet load_data(const std::filesystem::path& path, const Model& model);

/// The files that load_data() would read there, by their names alone: `path` itself, or of a
/// folder those called like data.
std::vector<std::filesystem::path> data_files(const std::filesystem::path& path);

/// `name` as part of a file name: slashes and control bytes are underscores.
std::string file_name_part(const std::string& name);

}  // namespace espalier
