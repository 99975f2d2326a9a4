#pragma once

#include <string>
#include <string_view>

#include "lib/prune/plan.h"

namespace espalier {

/// "2:4".
std::string to_string(NofM nm);
/// Errors  Fault::kUsage where `text` is not N:M with 1 <= N <= M <= 1024.
NofM parse_nm(std::string_view text);

/// REGEX:key=value,... as `--layer` takes it: keys block, sparsity, method, nm, gate-density (one
/// number per gate, with slashes between) and skip (alone). Split at the last colon after which
/// options follow, so a regular expression and nm=2:4 may hold colons.
/// Errors  Fault::kUsage naming the key, its value and what it takes; also for a bad expression.
LayerRule parse_layer_rule(std::string_view text);

/// What no options may hold, wherever they come from: a sparsity or density outside of 0 to 1, an
/// unknown method, scope or type, N:M out of range, a rule that says the same thing in two ways.
/// Errors  Fault::kUsage naming the option.
void check_options(const PruneOptions& options);
void check_options(const LayerOptions& options);

}  // namespace espalier
