#pragma once

#include <filesystem>
#include <string_view>

namespace espalier {

/// Throws "PATH: WHAT: reason" with the reason of errno, as Fault::kFormat.
[[noreturn]] void throw_errno(const std::filesystem::path& path, std::string_view what);

/// Makes the names in a folder ("" is the current one) survive a loss of power.
void sync_folder(const std::filesystem::path& folder);

/// The same for all files and folders below `folder`, and their bytes.
void sync_tree(const std::filesystem::path& folder);

}  // namespace espalier
