#include "apps/espalier/run_info.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "apps/espalier/program.h"
#include "apps/espalier/version.h"
#include "lib/base/error.h"
#include "lib/base/mapped_file.h"
#include "lib/base/sha256.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// A word as a shell takes it.
std::string shell_word(const std::string& word) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("-_./=:,%+@").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!word.empty() && std::ranges::all_of(word, plain)) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

// The line that is run; empty outside of one.
std::string command_line() {
  std::string line;
  for (const std::string_view word : words_of_line())
    line += line.empty() ? shell_word(fs::path(word).filename().string())
                         : " " + shell_word(std::string(word));
  return line;
}

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

}  // namespace

std::string digest_of(std::vector<fs::path> files) {
  std::error_code ignored;
  std::erase_if(files, [&](const fs::path& path) { return !fs::is_regular_file(path, ignored); });
  if (files.empty()) return "";
  if (files.size() == 1) return sha256(MappedFile::open(files.front())->bytes());
  const fs::path folder = files.front().parent_path();
  std::vector<std::pair<std::string, std::string>> lines;  // name, digest
  for (const fs::path& path : files)
    lines.emplace_back(path.lexically_relative(folder).generic_string(),
                       sha256(MappedFile::open(path)->bytes()));
  std::ranges::sort(lines);
  const auto [first, last] = std::ranges::unique(lines);
  lines.erase(first, last);
  std::string text;
  for (const auto& [name, digest] : lines) text += fmt::format("{}  {}\n", digest, name);
  return sha256(as_bytes(text));
}

RunInfo run_info(const CommandFiles& files, const CommonOptions& common) {
  RunInfo run;
  run.version = ESPALIER_VERSION;
  run.commit = commit();
  run.command = printable(command_line(), 4096);
  run.date = utc_now();
  run.seed = common.seed;
  run.machine = this_machine(common.threads);
  run.libraries = libraries();
  if (common.json.empty() && common.html.empty()) return run;
  run.model_sha256 = digest_of(files.first_model());
  run.data_sha256 = digest_of(files.data());
  return run;
}

}  // namespace espalier
