#include "lib/sparse/shared_mask.h"

#include <mutex>
#include <unordered_map>

namespace espalier {

std::shared_ptr<const BlockMask> shared_mask(const BlockMask& mask) {
  static std::mutex mutex;
  static std::unordered_multimap<size_t, std::weak_ptr<const BlockMask>> masks;
  const size_t hash = std::hash<std::vector<bool>>()(mask.kept);
  const std::lock_guard lock(mutex);
  std::erase_if(masks, [](const auto& entry) { return entry.second.expired(); });
  const auto [first, last] = masks.equal_range(hash);
  for (auto at = first; at != last; ++at) {
    auto found = at->second.lock();
    if (found != nullptr && *found == mask) return found;
  }
  auto made = std::make_shared<const BlockMask>(mask);
  masks.emplace(hash, made);
  return made;
}

}  // namespace espalier
