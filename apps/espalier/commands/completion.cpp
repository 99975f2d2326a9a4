#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/common_options.h"
#include "apps/espalier/completion.h"

namespace espalier {
namespace {

std::function<int()> add(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  app.add_option("SHELL", *shell, fmt::format("{}", fmt::join(completion_shells(), ", ")))
      ->required();
  add_footer(app,
             "  espalier completion bash > espalier.bash\n"
             "  espalier completion zsh > _espalier\n"
             "  espalier completion fish > espalier.fish");
  return [shell, &app] {
    print(completion_script(describe(root_of(app)), *shell));
    return static_cast<int>(kDone);
  };
}

}  // namespace

constinit const Command completion_command{
    "completion", "print the completion of commands and options for a shell", add};

}  // namespace espalier
