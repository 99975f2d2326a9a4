#include "lib/prune/options/layer_rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "lib/base/limits.h"
#include "lib/prune/score/criterion.h"
#include "lib/prune/select/name_pattern.h"

namespace espalier {
namespace {

constexpr uint32_t kMaxGroup = limits::group_extent;

[[noreturn]] void usage(std::string text) { throw Error(Fault::kUsage, std::move(text)); }

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  while (true) {
    const size_t end = text.find(separator);
    pieces.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

template <typename T>
bool parse_whole(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

double parse_share(std::string_view key, std::string_view text) {
  double share = 0;
  if (!parse_whole(text, share) || !(share >= 0 && share <= 1))
    usage(fmt::format("{} is \"{}\", expected a number from 0 to 1", key, printable(text)));
  return share;
}

void set_option(LayerOptions& options, std::string_view key, std::string_view value) {
  if (key == "block") {
    options.block = parse_block_shape(value);
  } else if (key == "sparsity") {
    options.sparsity = parse_share(key, value);
  } else if (key == "method") {
    options.method = std::string(value);
  } else if (key == "nm") {
    options.nm = parse_nm(value);
  } else if (key == "gate-density") {
    options.gate_density.clear();
    for (const std::string_view gate : split(value, '/'))
      options.gate_density.push_back(parse_share(key, gate));
  } else {
    usage(fmt::format(
        "key \"{}\" is unknown, expected block, sparsity, method, nm, gate-density or skip",
        printable(key)));
  }
}

LayerOptions parse_layer_options(std::string_view text) {
  LayerOptions options;
  for (const std::string_view piece : split(text, ',')) {
    const size_t equals = piece.find('=');
    if (piece == "skip") {
      options.skip = true;
    } else if (equals == std::string_view::npos) {
      usage(fmt::format("found \"{}\", expected key=value or skip", printable(piece)));
    } else {
      set_option(options, piece.substr(0, equals), piece.substr(equals + 1));
    }
  }
  return options;
}

// Whether `text` begins like options: what follows "nm=2:" or "(?i:" in an expression does not.
bool begins_with_key(std::string_view text) {
  constexpr auto kKeys = std::to_array<std::string_view>(
      {"block=", "sparsity=", "method=", "nm=", "gate-density=", "skip"});
  return std::ranges::any_of(kKeys, [&](auto key) { return text.starts_with(key); });
}

size_t split_place(std::string_view text) {
  const size_t last = text.rfind(':');
  for (size_t at = last; at != std::string_view::npos && at != 0; at = text.rfind(':', at - 1)) {
    if (begins_with_key(text.substr(at + 1))) return at;
  }
  return last;
}

void check_share(std::string_view key, double share) {
  if (!(share >= 0 && share <= 1))
    usage(fmt::format("{} is {}, expected a number from 0 to 1", key, share));
}

void check_block(BlockShape block) {
  constexpr uint32_t kMost = limits::block_extent;
  if (block.rows < 1 || block.cols < 1 || block.rows > kMost || block.cols > kMost)
    usage(fmt::format("block is {}, expected extents from 1 to {}", to_string(block), kMost));
}

void check_nm(NofM nm) {
  if (nm.keep < 1 || nm.keep > nm.of || nm.of > kMaxGroup) {
    usage(fmt::format("nm is {}, expected N:M with 1 <= N <= M <= {}", to_string(nm), kMaxGroup));
  }
}

void check_method(std::string_view method) {
  if (find_criterion(method) != nullptr) return;
  std::string names;
  for (const Criterion* criterion : criteria()) {
    if (!names.empty()) names += ", ";
    names += criterion->name;
  }
  usage(fmt::format("method is \"{}\", expected one of {}", printable(method), names));
}

}  // namespace

std::string to_string(NofM nm) { return fmt::format("{}:{}", nm.keep, nm.of); }

NofM parse_nm(std::string_view text) {
  const size_t colon = text.find(':');
  NofM nm;
  const bool parsed = colon != std::string_view::npos &&
                      parse_whole(text.substr(0, colon), nm.keep) &&
                      parse_whole(text.substr(colon + 1), nm.of);
  if (!parsed || nm.keep < 1 || nm.keep > nm.of || nm.of > kMaxGroup) {
    usage(fmt::format("nm is \"{}\", expected N:M with 1 <= N <= M <= {}", printable(text),
                      kMaxGroup));
  }
  return nm;
}

PruneTarget parse_max_drop(std::string_view text, std::string_view option) {
  PruneTarget target{PruneTarget::Kind::kDrop, -1, text.ends_with('%')};
  const std::string_view number = text.substr(0, text.size() - (target.share ? 1 : 0));
  const auto [end, fault] =
      std::from_chars(number.data(), number.data() + number.size(), target.value);
  const bool whole = fault == std::errc() && end == number.data() + number.size();
  if (!whole || !(target.value >= 0) || !std::isfinite(target.value)) {
    usage(fmt::format("{} is \"{}\", expected a number, 0 or more, or a share as in 1%", option,
                      printable(text)));
  }
  if (target.share) target.value /= 100;
  return target;
}

std::string to_string(const PruneTarget& drop) {
  return drop.share ? fmt::format("{:.10g}%", 100 * drop.value) : fmt::format("{}", drop.value);
}

Schedule parse_schedule(std::string_view text) {
  constexpr std::string_view kKind = "cubic:";
  Schedule schedule{0, 0};
  bool good = text.starts_with(kKind), start = false;
  for (const std::string_view part : split(text.substr(good ? kKind.size() : 0), ',')) {
    if (part.starts_with("start=") && !start) {
      schedule.start = parse_share("start", part.substr(6));
      start = true;
    } else {
      good = good && schedule.steps == 0 && part.starts_with("steps=") &&
             parse_whole(part.substr(6), schedule.steps) && schedule.steps > 0;
    }
  }
  if (!good || schedule.steps < 1 || schedule.steps > limits::schedule_steps) {
    usage(fmt::format(
        "schedule is \"{}\", expected cubic:start=S,steps=N with N from 1 to 1000000 (start: 0)",
        printable(text)));
  }
  return schedule;
}

std::string to_string(const Schedule& schedule) {
  return fmt::format("cubic:start={},steps={}", schedule.start, schedule.steps);
}

double scheduled_sparsity(const Schedule& schedule, double sparsity, uint64_t step) {
  if (step > schedule.steps) {
    usage(fmt::format("step {} is not in the schedule, expected: 0 to {}", step, schedule.steps));
  }
  const double left = 1 - static_cast<double>(step) / schedule.steps;
  return sparsity + (schedule.start - sparsity) * left * left * left;
}

LayerRule parse_layer_rule(std::string_view text) {
  try {
    const size_t colon = split_place(text);
    if (colon == std::string_view::npos) usage("expected REGEX:key=value,...");
    LayerRule rule{std::string(text.substr(0, colon)), parse_layer_options(text.substr(colon + 1))};
    check_options(rule.options);
    NamePattern{rule.pattern};
    return rule;
  } catch (Error& error) {
    error.add_context(fmt::format("layer rule \"{}\"", printable(text)));
    throw;
  }
}

void check_options(const LayerOptions& options) {
  if (options.block) check_block(*options.block);
  if (options.nm) check_nm(*options.nm);
  if (options.sparsity) check_share("sparsity", *options.sparsity);
  if (options.method) check_method(*options.method);
  for (const double density : options.gate_density) check_share("gate-density", density);
  if (options.nm && options.block) usage("nm and block exclude each other");
  const int targets =
      (options.nm ? 1 : 0) + (options.sparsity ? 1 : 0) + (options.gate_density.empty() ? 0 : 1);
  if (targets > 1) usage("nm, sparsity and gate-density exclude each other");
}

void check_options(const PruneOptions& options) {
  check_share("sparsity", options.sparsity);
  check_block(options.block);
  if (options.nm) check_nm(*options.nm);
  if (!options.method.empty()) check_method(options.method);
  constexpr std::array<std::string_view, 3> kScopes{"layer", "global", "sensitivity"};
  if (!options.scope.empty() && std::ranges::count(kScopes, options.scope) == 0) {
    usage(fmt::format("scope is \"{}\", expected layer, global or sensitivity",
                      printable(options.scope)));
  }
  constexpr auto kValues =
      std::to_array<std::string_view>({"", "f32", "f16", "bf16", "i8", "auto"});
  if (std::ranges::find(kValues, options.values) == kValues.end()) {
    usage(fmt::format("values is \"{}\", expected f32, f16, bf16, i8 or auto",
                      printable(options.values)));
  }
  if (options.target && options.nm)
    usage("a target sets the sparsity, and so does nm: they exclude each other");
  for (const LayerRule& rule : options.rules) {
    try {
      check_options(rule.options);
      NamePattern{rule.pattern};
    } catch (Error& error) {
      error.add_context(fmt::format("layer rule \"{}\"", printable(rule.pattern)));
      throw;
    }
  }
  for (const std::string& pattern : options.select.exclude) NamePattern{pattern};
  for (const std::string& pattern : options.select.force) NamePattern{pattern};
}

}  // namespace espalier
