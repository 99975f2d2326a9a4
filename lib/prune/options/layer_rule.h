#pragma once

#include <string>
#include <string_view>

#include "lib/prune/options/prune_options.h"

namespace espalier {

/// "2:4".
std::string to_string(NofM nm);
/// Errors  Fault::kUsage where `text` is not N:M with 1 <= N <= M <= 1024.
NofM parse_nm(std::string_view text);

/// "0.3" or "1%": what --max-drop takes, in the metric's unit or as a share of the metric.
/// Errors  Fault::kUsage.
PruneTarget parse_max_drop(std::string_view text, std::string_view option = "max-drop");
/// The value of a drop as parse_max_drop() takes it.
std::string to_string(const PruneTarget& drop);

/// "cubic:start=0,steps=16"; start may be left out.
/// Errors  Fault::kUsage.
Schedule parse_schedule(std::string_view text);
std::string to_string(const Schedule& schedule);
/// Sparsity at `step` of a schedule that ends at `sparsity`: s_f + (s_i - s_f) (1 - t / n)^3.
/// Errors  Fault::kUsage: a step past the last.
/// Source  arXiv:1710.01878, eq. 1, with t0 = 0 and one step each time.
double scheduled_sparsity(const Schedule& schedule, double sparsity, uint64_t step);

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
