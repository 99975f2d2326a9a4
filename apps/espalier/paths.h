#pragma once

#include <initializer_list>
#include <string>

namespace espalier {

/// Files and folders that the command line names as inputs, each opened before any is read, so that
/// a misspelt one is reported at once and not after a large model was read or calibrated. Empty
/// ones are skipped.
/// Errors  Fault::kFormat naming the first that cannot be opened.
void check_inputs_exist(std::initializer_list<std::string> paths);

/// Files that will be written: whether the folder that they go to exists. "" and "-" are skipped.
/// Errors  Fault::kFormat naming the first that could not be written.
void check_outputs_can_exist(std::initializer_list<std::string> paths);

}  // namespace espalier
