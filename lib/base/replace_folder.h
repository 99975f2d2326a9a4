#pragma once

#include <filesystem>

namespace espalier {

/// Gives the folder `made` the name `target`, beside which it lies, in one step; afterwards `made`
/// is what was called `target` before, or nothing where there was none or an empty folder.
/// Errors  Fault::kFormat; then nothing has changed.
void replace_folder(const std::filesystem::path& made, const std::filesystem::path& target);

/// The same for file systems that cannot exchange two names: the old folder steps aside first, and
/// comes back where the new one cannot take its place. In between there is no `target`.
void replace_folder_in_two_steps(const std::filesystem::path& made,
                                 const std::filesystem::path& target);

}  // namespace espalier
