#include "apps/espalier/command.h"

#include <array>

namespace espalier {

std::span<const Command* const> commands() {
  static constexpr std::array kCommands{
#define ESPALIER_COMMAND(name) &name##_command,
#include "apps/espalier/commands.def"
  };
  return kCommands;
}

}  // namespace espalier
