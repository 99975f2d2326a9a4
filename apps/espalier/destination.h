#pragma once

#include <filesystem>
#include <string>

#include "apps/espalier/options.h"
#include "formats/format.h"

namespace espalier {

/// Where and how a model is written.
struct Destination {
  std::filesystem::path output;  ///< empty for a dry run without one
  bool dry_run = false;
  WriteOptions write;
};

/// `args` for that output; `values` is --values, "" = each weight's own type.
/// Errors  before any file is opened: Fault::kUsage: no output and no dry run, a profile that the
/// output's format or the reader has not, a reader of another format, a shape that cannot be read; Fault::kUnsupported: values that the
/// format cannot store.
Destination destination_of(const std::string& output, bool dry_run, const WriteArgs& args,
                           const std::string& values);

}  // namespace espalier
