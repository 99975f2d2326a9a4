#include "lib/verify/machine.h"

#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "lib/kernels/simd_target.h"

namespace espalier {

Machine this_machine(size_t threads) {
  Machine machine;
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; machine.processor.empty() && std::getline(info, line);) {
    const size_t colon = line.find(':');
    if (!line.starts_with("model name") || colon == std::string::npos) continue;
    const size_t text = line.find_first_not_of(" \t", colon + 1);
    if (text != std::string::npos) machine.processor = line.substr(text);
  }
  if (machine.processor.empty()) {  // ARM kernels give no name there
    utsname system{};
    machine.processor = uname(&system) == 0 ? system.machine : "unknown";
  }
  machine.simd = simd_target();
  machine.threads = threads == 0 ? std::max(1U, std::thread::hardware_concurrency()) : threads;
  return machine;
}

}  // namespace espalier
