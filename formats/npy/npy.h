#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lib/tensor/tensor.h"

namespace espalier {

/// NumPy's array file, versions 1.0 to 3.0, C or Fortran order, little-endian numbers and bool. The
/// header is parsed as a literal, never evaluated.
/// Errors  Fault::kFormat with the field, the value and the rule; sizes are checked against the file
///         before anything is allocated.
/// Source  NEP 1, "A Simple File Format for NumPy Arrays".
Tensor read_npy(Bytes bytes);
Tensor read_npy_file(const std::filesystem::path& path);
std::string npy_bytes(const Tensor& tensor);
void write_npy_file(const std::filesystem::path& path, const Tensor& tensor);

/// A zip of .npy members, name without the ending -> array. Members that claim or unpack to more
/// than their header says are refused.
std::map<std::string, Tensor> read_npz_file(const std::filesystem::path& path);
/// Members are stored deflated, in order of name, with a fixed date: the same arrays give the same
/// bytes.
void write_npz_file(const std::filesystem::path& path, const std::map<std::string, Tensor>& arrays);

}  // namespace espalier
