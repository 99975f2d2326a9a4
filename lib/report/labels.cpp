#include "lib/report/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "lib/report/paper.h"

namespace espalier {
namespace {

constexpr std::string_view kEllipsis = "…";

// Bytes that all begin with, up to and with the last separator in them: names are cut where their
// parts are.
size_t common_front(const std::vector<std::string>& labels) {
  if (labels.size() < 2) return 0;
  std::string_view front = labels.front();
  for (const std::string& label : labels) {
    const auto [end, other] = std::ranges::mismatch(front, label);
    front = front.substr(0, static_cast<size_t>(end - front.begin()));
  }
  const size_t separator = front.find_last_of("/.:_");
  return separator == std::string_view::npos ? 0 : separator + 1;
}

// The last `width` columns, an ellipsis in front.
std::string end_of(std::string_view text, size_t width) {
  if (display_width(text) <= width) return std::string(text);
  size_t begin = 0;
  while (display_width(text.substr(begin)) + 1 > width) {
    ++begin;
    while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
  }
  return std::string(kEllipsis).append(text.substr(begin));
}

std::string without_front(const std::string& label, size_t front) {
  return front < 2 ? label : std::string(kEllipsis).append(label.substr(front));
}

// Indices by text, of those texts that several have.
std::vector<std::vector<size_t>> equal_ones(const std::vector<std::string>& texts) {
  std::map<std::string, std::vector<size_t>> by_text;
  for (size_t i = 0; i < texts.size(); ++i) by_text[texts[i]].push_back(i);
  std::vector<std::vector<size_t>> result;
  for (auto& [text, indices] : by_text) {
    if (indices.size() > 1) result.push_back(std::move(indices));
  }
  return result;
}

std::string numbered(const std::string& label, size_t width, std::set<std::string>& taken) {
  for (size_t number = 1;; ++number) {
    const std::string tail = fmt::format("#{}", number);
    const std::string text = end_of(label, width - std::min(width, tail.size())) + tail;
    if (taken.insert(text).second) return text;
  }
}

}  // namespace

std::vector<std::string> fitting_labels(const std::vector<std::string>& labels, size_t width) {
  const auto fits = [&](const std::string& label) { return display_width(label) <= width; };
  if (std::ranges::all_of(labels, fits)) return labels;
  const size_t front = common_front(labels);
  std::vector<std::string> result;
  for (const std::string& label : labels)
    result.push_back(end_of(without_front(label, front), width));
  // Equal ends: what tells them apart is in front of them.
  for (const std::vector<size_t>& group : equal_ones(result)) {
    std::vector<std::string> names;
    for (const size_t i : group) names.push_back(labels[i]);
    const size_t own_front = common_front(names);
    for (const size_t i : group) result[i] = shortened(without_front(labels[i], own_front), width);
  }
  std::set<std::string> taken;
  for (const std::vector<size_t>& group : equal_ones(result)) {
    for (const size_t i : group) result[i].clear();
  }
  for (const std::string& text : result) taken.insert(text);
  for (size_t i = 0; i < result.size(); ++i) {
    if (result[i].empty() && !labels[i].empty()) result[i] = numbered(labels[i], width, taken);
  }
  return result;
}

}  // namespace espalier
