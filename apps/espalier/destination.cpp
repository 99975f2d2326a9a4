#include "apps/espalier/destination.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"

namespace espalier {
namespace {

std::string resolved_profile(const std::filesystem::path& output, const std::string& profile) {
  if (output.empty()) return profile;
  const Format& format = format_for_output(output);
  if (profile.empty()) return std::string(format.profiles.front());
  if (std::ranges::count(format.profiles, std::string_view(profile)) == 0) {
    throw Error(Fault::kUsage,
                fmt::format("--profile {}: expected a profile of {} files: {}", printable(profile),
                            format.name, fmt::join(format.profiles, ", ")));
  }
  return profile;
}

void check_values_of(const std::filesystem::path& output, const std::string& profile,
                     const std::string& values) {
  if (output.empty() || values.empty() || profile == "dense") return;
  try {
    for (const std::string& one :
         values == "auto" ? std::vector<std::string>{"f16", "i8"} : std::vector{values})
      check_values(format_for_output(output), one);
  } catch (Error& error) {
    error.add_context("--values " + values);
    throw;
  }
}

}  // namespace

Destination destination_of(const std::string& output, bool dry_run, const WriteArgs& args,
                           const std::string& values) {
  if (output.empty() && !dry_run)
    throw Error(Fault::kUsage, "OUT is missing: the file to write, or --dry-run");
  Destination result{output, dry_run, {}};
  result.write.profile = resolved_profile(output, args.profile);
  check_values_of(output, result.write.profile, values);
  if (!args.index.empty()) result.write.index = args.index;
  result.write.keep_io_names = args.keep_io_names;
  result.write.shapes = input_shapes(args.shapes);
  return result;
}

}  // namespace espalier
