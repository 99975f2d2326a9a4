#include "lib/report/sections/machine.h"

#include <fmt/format.h>

#include "lib/base/error.h"

namespace espalier {

void add_machine(const Machine& machine, Report& report) {
  report.parts.emplace_back(Record{"machine",
                                   {{"processor", machine.processor},
                                    {"simd", machine.simd},
                                    {"threads", count_cell(machine.threads)}}});
  report.head.push_back(fmt::format("{}, {}, {} {}", printable(machine.processor), machine.simd,
                                    machine.threads, machine.threads == 1 ? "thread" : "threads"));
}

}  // namespace espalier
