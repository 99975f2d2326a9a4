#include "lib/tensor/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace espalier {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr size_t kLargePage = size_t{2} << 20;

// calloc, because it knows which pages come fresh from the system and need no clearing; it promises
// less than our alignment, so some more is asked for and the front skipped.
std::shared_ptr<std::byte> zeros(size_t bytes) {
  constexpr auto kStep = static_cast<size_t>(kAlignment);
  auto* block = static_cast<std::byte*>(std::calloc(bytes + kStep, 1));
  if (block == nullptr) throw std::bad_alloc();
  const std::shared_ptr<std::byte> owner(block, std::free);
  return {owner, block + (kStep - reinterpret_cast<uintptr_t>(block) % kStep)};
}

// Fresh from the system, zeros. It maps some more than is asked for, so that large pages fit.
std::shared_ptr<std::byte> large(size_t bytes) {
  const size_t mapped = bytes + kLargePage;
  void* const block =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) throw std::bad_alloc();
  const std::shared_ptr<void> owner(block, [mapped](void* first) { munmap(first, mapped); });
  const size_t skip = kLargePage - reinterpret_cast<uintptr_t>(block) % kLargePage;
  std::byte* const first = static_cast<std::byte*>(block) + skip;
  // Whole large pages only: the rest would take one for a few bytes. A system without them is fine.
  madvise(first, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
  return {owner, first};
}

}  // namespace

std::shared_ptr<std::byte> make_buffer(size_t bytes, Fill fill) {
  if (bytes >= 2 * kLargePage) return large(bytes);
  if (fill == Fill::kZeros) return zeros(bytes);
  return {static_cast<std::byte*>(::operator new(std::max<size_t>(bytes, 1), kAlignment)),
          [](std::byte* buffer) { ::operator delete(buffer, kAlignment); }};
}

}  // namespace espalier
