#include "lib/base/available_memory.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace espalier {
namespace {

// The number in a file of one number, or `otherwise` ("max", or no such file).
uint64_t number_in(const char* file, uint64_t otherwise) {
  std::ifstream stream(file);
  uint64_t number = 0;
  return stream >> number ? number : otherwise;
}

// "MemAvailable: N kB" of /proc/meminfo.
uint64_t system_memory() {
  std::ifstream stream("/proc/meminfo");
  for (std::string name; stream >> name;) {
    uint64_t kib = 0;
    if (name == "MemAvailable:" && stream >> kib) return kib << 10;
    std::getline(stream, name);
  }
  const auto pages = static_cast<uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES)));
  return pages * static_cast<uint64_t>(::sysconf(_SC_PAGE_SIZE));
}

uint64_t control_group_memory() {
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max", UINT64_MAX);
  const uint64_t used = number_in("/sys/fs/cgroup/memory.current", 0);
  return limit == UINT64_MAX ? limit : limit - std::min(limit, used);
}

uint64_t address_space() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return limit.rlim_cur;
}

}  // namespace

uint64_t available_memory() {
  return std::min({system_memory(), control_group_memory(), address_space()});
}

void give_back_freed_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace espalier
