#include "lib/report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "lib/base/error.h"

namespace espalier {
namespace {

constexpr double kWidth = 720, kHeight = 300, kLeft = 64, kRight = 150, kTop = 16, kBottom = 40;

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Never empty, so that a place can be divided by it.
  void widen() {
    if (high - low < 1e-12 * std::max(1.0, std::abs(high))) low -= 0.5, high += 0.5;
  }
  double place(double value) const { return (value - low) / (high - low); }
};

struct Series {
  std::string title;
  std::vector<std::pair<double, double>> points;
};

std::optional<double> number(const Cell& cell) {
  std::optional<double> value;
  if (const auto* real = std::get_if<double>(&cell)) value = *real;
  if (const auto* whole = std::get_if<int64_t>(&cell)) value = static_cast<double>(*whole);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

std::vector<Series> series_of(const Table& table) {
  std::vector<Series> result;
  for (const size_t column : table.plotted) {
    Series series{table.columns[column].title, {}};
    for (const auto& row : table.rows) {
      const auto x = number(row[0]), y = number(row[column]);
      if (x && y) series.points.emplace_back(*x, *y);
    }
    std::ranges::sort(series.points);
    if (series.points.size() > 1) result.push_back(std::move(series));
  }
  return result;
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escaped(printable(std::string(text), 40)));
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '&':
        result += "&amp;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string plot_svg(const Table& table) {
  const std::vector<Series> all = series_of(table);
  if (all.empty()) return "";
  Range xs, ys;
  for (const Series& series : all) {
    for (const auto& [x, y] : series.points) {
      xs.take(x);
      ys.take(y);
    }
  }
  xs.widen();
  ys.widen();
  const auto x_of = [&](double x) { return kLeft + xs.place(x) * (kWidth - kLeft - kRight); };
  const auto y_of = [&](double y) {
    return kHeight - kBottom - ys.place(y) * (kHeight - kTop - kBottom);
  };
  std::string out =
      fmt::format("<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
                  kWidth, kHeight, escaped(printable(table.title)));
  constexpr int kTicks = 4;
  for (int i = 0; i <= kTicks; ++i) {
    const double x = xs.low + (xs.high - xs.low) * i / kTicks;
    const double y = ys.low + (ys.high - ys.low) * i / kTicks;
    out += fmt::format("<line class=\"grid\" x1=\"{}\" y1=\"{:.1f}\" x2=\"{}\" y2=\"{:.1f}\"/>\n",
                       kLeft, y_of(y), kWidth - kRight, y_of(y));
    out += text_at(kLeft - 8, y_of(y) + 4, "end", format_cell(y, table.columns[1].unit));
    out +=
        text_at(x_of(x), kHeight - kBottom + 18, "middle", format_cell(x, table.columns[0].unit));
  }
  out += text_at((kLeft + kWidth - kRight) / 2, kHeight - 6, "middle", table.columns[0].title);
  constexpr std::array<std::string_view, 3> kClasses{"first", "second", "third"};
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string_view kind = kClasses[i % kClasses.size()];
    std::string points;
    for (const auto& [x, y] : all[i].points)
      points += fmt::format("{:.1f},{:.1f} ", x_of(x), y_of(y));
    out += fmt::format("<polyline class=\"{}\" points=\"{}\"/>\n", kind, points);
    for (const auto& [x, y] : all[i].points) {
      out += fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>\n", kind,
                         x_of(x), y_of(y));
    }
    const double y = kTop + 14 + 20 * static_cast<double>(i);
    out += fmt::format("<circle class=\"{}\" cx=\"{}\" cy=\"{}\" r=\"4\"/>\n", kind,
                       kWidth - kRight + 16, y - 4);
    out += text_at(kWidth - kRight + 26, y, "start", all[i].title);
  }
  return out + "</svg>\n";
}

}  // namespace espalier
