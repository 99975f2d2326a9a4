#include "lib/verify/weight_pairs.h"

#include <map>
#include <set>

#include "lib/ir/named_weights.h"
#include "lib/verify/data.h"

namespace espalier {

// Pairs equal names first, then names that are equal once mangled.
WeightPairs pair_weights(const Model& a, const Model& b, bool literals) {
  const auto may_be_alone = [&](const Weight& weight) {
    return !literals && (!is_float(weight.dtype()) || element_count(weight.shape()) <= 1);
  };
  WeightPairs result;
  // What has no partner yet: first those of the same name find theirs.
  auto left_a = named_weights(a), left_b = named_weights(b);
  for (const bool mangled : {false, true}) {
    const auto key = [&](const std::string& name) { return mangled ? mangled_name(name) : name; };
    std::map<std::string, const Weight*> in_b;
    for (const auto& [name, weight] : left_b) in_b.emplace(key(name), weight);
    std::set<const Weight*> taken;
    std::erase_if(left_a, [&](const auto& entry) {
      const auto found = in_b.find(key(entry.first));
      if (found == in_b.end()) return false;
      result.pairs.push_back({entry.first, entry.second, found->second});
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

}  // namespace espalier
