#pragma once

#include <filesystem>

namespace espalier {

/// Whether two paths lead to the same file or folder, whatever their spelling, through links and
/// for hard links too. False where one leads nowhere.
bool same_file(const std::filesystem::path& a, const std::filesystem::path& b);

/// Whether writing `target` would take `file` away: they are the same, or `target` is a folder,
/// which is replaced as a whole, and `file` (or a link that is called so) is somewhere below it.
bool would_replace(const std::filesystem::path& target, const std::filesystem::path& file);

}  // namespace espalier
