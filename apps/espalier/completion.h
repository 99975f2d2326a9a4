#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apps/espalier/command_tree.h"

namespace espalier {

/// Names of the shells that completion_script() knows.
std::vector<std::string> completion_shells();

/// What the shell is to run so that it completes the commands, options and known values of `root`;
/// everything else is completed as a file.
/// Errors  Fault::kUsage: a shell that is not known.
std::string completion_script(const CommandInfo& root, std::string_view shell);

}  // namespace espalier
