#pragma once

#include <string>

#include "lib/prune/choose/mask_arrays.h"

namespace espalier {

/// Masks of a .npz file; `--mask-in`, `mask`.
/// Errors  those of read_npz_file and masks_of_arrays, with the file's name.
Masks read_masks(const std::string& file);
void write_masks(const std::string& file, const Masks& masks);

}  // namespace espalier
