#pragma once

#include <string>
#include <string_view>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace espalier {

/// What is wrong with a command line that CLI11 refused, as one line: an option or subcommand that
/// does not exist by its name, with the nearest that does; else CLI11's own text.
/// `first`: the first argument, empty where there is none.
std::string wrong_line_text(const CLI::App& app, const CLI::ParseError& error,
                            std::string_view first);

/// For a subcommand that `app` has not: which there are, and which was probably meant.
std::string unknown_subcommand_text(const CLI::App& app, std::string_view name);

}  // namespace espalier
