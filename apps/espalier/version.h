#pragma once

#include <string>
#include <utility>
#include <vector>

namespace espalier {

/// Name and version of the libraries that the program was built with.
std::vector<std::pair<std::string, std::string>> libraries();

/// The commit that it was built from, with "+changes" where files differed from it; "unknown" where
/// there was no git checkout.
std::string commit();

/// What --version prints: program, commit, compiler, instruction sets, libraries, a line each.
std::string version_text();

}  // namespace espalier
