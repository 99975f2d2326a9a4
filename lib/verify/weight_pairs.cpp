#include "lib/verify/weight_pairs.h"

#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string>

#include "lib/ir/named_weights.h"
#include "lib/verify/data.h"

namespace espalier {

namespace {

std::string as_it_is(const std::string& name) { return name; }
std::string mangled(const std::string& name) { return mangled_name(name); }

// Without the _NUMBER that a writer adds where two names meet.
std::string without_number(const std::string& name) {
  const std::string mangled = mangled_name(name);
  const size_t end = mangled.find_last_not_of("0123456789");
  const bool numbered =
      end != std::string::npos && end > 0 && end + 1 != mangled.size() && mangled[end] == '_';
  return numbered ? mangled.substr(0, end) : mangled;
}

constexpr std::array<std::string (*)(const std::string&), 3> kKeys{as_it_is, mangled,
                                                                   without_number};

}  // namespace

// Pairs equal names first, then names that are equal once mangled, then without their numbers.
WeightPairs pair_weights(const Model& a, const Model& b, bool literals) {
  const auto may_be_alone = [&](const Weight& weight) {
    return !literals && (!is_float(weight.dtype()) || element_count(weight.shape()) <= 1);
  };
  WeightPairs result;
  // What has no partner yet: first those of the same name find theirs.
  auto left_a = named_weights(a), left_b = named_weights(b);
  const bool other_format = a.origin.format != b.origin.format;
  for (const auto& key : kKeys) {
    std::map<std::string, const Weight*> in_b;
    for (const auto& [name, weight] : left_b) in_b.emplace(key(name), weight);
    std::set<const Weight*> taken;
    std::erase_if(left_a, [&](const auto& entry) {
      const auto found = in_b.find(key(entry.first));
      if (found == in_b.end()) return false;
      result.pairs.push_back({entry.first, entry.second, found->second, other_format});
      taken.insert(found->second);
      in_b.erase(found);
      return true;
    });
    std::erase_if(left_b, [&](const auto& entry) { return taken.contains(entry.second); });
  }
  for (const auto& [name, weight] : left_a) {
    if (!may_be_alone(*weight)) result.only_a.push_back(name);
  }
  for (const auto& [name, weight] : left_b) {
    if (!may_be_alone(*weight)) result.only_b.push_back(name);
  }
  return result;
}

bool is_turned(const Shape& a, const Shape& b) { return a.size() == 2 && b == Shape{a[1], a[0]}; }

Tensor transposed(const Tensor& matrix) {
  const auto rows = static_cast<size_t>(matrix.shape()[0]);
  const auto cols = static_cast<size_t>(matrix.shape()[1]);
  Tensor result = Tensor::zeros(matrix.dtype(), {matrix.shape()[1], matrix.shape()[0]});
  const size_t width = bytes_of(matrix.dtype());
  const Tensor held = matrix.held();
  const std::byte* from = held.bytes().data();
  std::byte* to = result.mutable_bytes().data();
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c)
      std::memcpy(to + (c * rows + r) * width, from + (r * cols + c) * width, width);
  }
  return result;
}

}  // namespace espalier
