#pragma once

#include <string>

#include "apps/espalier/command_tree.h"

namespace espalier {

/// The manual page of a command, section 1, in the language of man(7). Its subcommands are named,
/// not described: they have pages of their own.
std::string man_page(const CommandInfo& command);

}  // namespace espalier
