#pragma once

#include <filesystem>

namespace espalier {

/// Refuses the endings of file formats that espalier does not write, before a folder of that name
/// appears: "net.pt" is a mistake, "net" and "net.v2" are names of NNEF folders. A trailing slash
/// always means a folder.
/// Errors  Fault::kUsage with the endings that are known.
void check_output_ending(const std::filesystem::path& path);

}  // namespace espalier
