#include <fcntl.h>

#include <csignal>

#include "apps/espalier/program.h"
#include "lib/base/output_file.h"

namespace espalier {
namespace {

// A descriptor of 0 to 2 that the caller closed would go to the first file that is opened, and what
// is printed into that file.
void open_standard_descriptors() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) < 0) static_cast<void>(::open("/dev/null", O_RDWR));
  }
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  using namespace espalier;
  open_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);  // a reader of stdout that goes away is seen by print()
  remove_outputs_on_signals();
  return run_program(argc, argv);
}
