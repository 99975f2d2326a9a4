#include "lib/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace espalier {

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "bug in espalier: %s does not hold (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace espalier
