#include <fmt/format.h>

#include <array>
#include <cmath>

#include "lib/base/error.h"
#include "lib/report/report.h"

namespace espalier {
namespace {

constexpr std::string_view kNotMeasured = "-";

std::string format_extents(const Shape& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (const int64_t extent : shape) {
    if (!text.empty()) text += 'x';
    text += extent < 0 ? std::string("?") : std::to_string(extent);
  }
  return text;
}

std::string format_real(double value, Unit unit) {
  if (!std::isfinite(value)) return std::string(kNotMeasured);
  switch (unit) {
    case Unit::kShare:
      return fmt::format("{:.1f} %", 100 * value);
    case Unit::kMilliseconds:  // a tenth of a microsecond is noise
      return value < 0.1 ? fmt::format("{:.4f}", value) : format_number(value);
    case Unit::kRatio:
      return fmt::format("{:.2f}x", value);
    default:
      return format_number(value);
  }
}

std::string format_integer(int64_t value, Unit unit) {
  return unit == Unit::kBytes ? format_bytes(static_cast<uint64_t>(value)) : std::to_string(value);
}

}  // namespace

std::string format_number(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : (value > 0 ? "inf" : "-inf");
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size < 1e-4 || size >= 1e6) return fmt::format("{:.1e}", value);
  const int before = static_cast<int>(std::floor(std::log10(size))) + 1;  // digits before the point
  return fmt::format("{:.{}f}", value, std::max(0, 3 - before));
}

std::string format_count(double count) {
  static constexpr std::array kNames{"", " k", " M", " G", " T"};
  size_t name = 0;
  for (; count >= 999.5 && name + 1 < kNames.size(); ++name) count /= 1000;
  return name == 0 ? fmt::format("{:.0f}", count) : format_number(count) + kNames[name];
}

std::string format_bytes(uint64_t bytes) {
  static constexpr std::array kNames{"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t name = 0;
  for (; value >= 999.5 && name + 1 < kNames.size(); ++name) value /= 1000;
  return name == 0 ? fmt::format("{} B", bytes)
                   : fmt::format("{} {}", format_number(value), kNames[name]);
}

std::string format_cell(const Cell& cell, Unit unit) {
  struct Visitor {
    Unit unit;
    std::string operator()(std::monostate) const { return std::string(kNotMeasured); }
    std::string operator()(bool value) const { return value ? "yes" : "no"; }
    std::string operator()(int64_t value) const { return format_integer(value, unit); }
    std::string operator()(double value) const { return format_real(value, unit); }
    std::string operator()(const std::string& text) const { return printable(text); }
    std::string operator()(const Shape& shape) const { return format_extents(shape); }
    std::string operator()(const std::map<std::string, Shape>& shapes) const {
      std::string text;
      for (const auto& [name, shape] : shapes) {
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", printable(name),
                            format_extents(shape));
      }
      return text;
    }
    // Names of axes: those that have none are left out.
    std::string operator()(const std::vector<std::string>& names) const {
      std::string text;
      for (size_t i = 0; i < names.size(); ++i) {
        if (!names[i].empty())
          text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", i, printable(names[i]));
      }
      return text.empty() ? std::string(kNotMeasured) : text;
    }
  };
  return std::visit(Visitor{unit}, cell);
}

bool right_aligned(Unit unit) {
  return unit != Unit::kText && unit != Unit::kYesNo && unit != Unit::kReason;
}

}  // namespace espalier
