#pragma once

#include <filesystem>
#include <string>

namespace espalier {

/// Runs `command` by /bin/sh with every {model} in it replaced by the quoted path of `model`, and
/// gives the one number that it prints.
/// Errors  Fault::kUsage: no {model} in the command; Fault::kFormat: it fails, prints no number or
/// too much, or takes longer than an hour; the text names the command and shows its last line on
/// stderr.
double run_metric_command(const std::string& command, const std::filesystem::path& model);

}  // namespace espalier
