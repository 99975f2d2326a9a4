#include "apps/espalier/man_page.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/common_options.h"
#include "lib/base/output_file.h"

namespace espalier {
namespace {

struct Args {
  std::vector<std::string> words;
  std::string folder;
};

void write_pages(const CommandInfo& command, const std::filesystem::path& folder) {
  std::string name = command.name;
  std::ranges::replace(name, ' ', '-');
  write_file(folder / (name + ".1"), as_bytes(man_page(command)));
  for (const CommandInfo& sub : command.subcommands) write_pages(sub, folder);
}

int run(const Args& args, const CLI::App& root) {
  const NamedCommand named = command_named(root, args.words);
  const CommandInfo command = describe(*named.app, named.above);
  if (args.folder.empty()) {
    print(man_page(command));
  } else {
    std::filesystem::create_directories(args.folder);
    write_pages(command, args.folder);
  }
  return kDone;
}

std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("COMMAND", args->words, "command, or command and subcommand; none: espalier");
  app.add_option("-o,--output", args->folder,
                 "write its page and those of its subcommands as files")
      ->type_name("DIR");
  add_footer(app,
             "  espalier man prune > espalier-prune.1\n"
             "  espalier man -o man1");
  return [args, &app] { return run(*args, root_of(app)); };
}

}  // namespace

constinit const Command man_command{"man", "print the manual page of a command", add};

}  // namespace espalier
