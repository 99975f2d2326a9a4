#include "lib/report/results.h"

namespace espalier {
namespace {

void add(const Results& results, Report& report) {
  report.has_verdicts = results.pack.has_value();
  report.verdicts = results.verdicts;
  report.notes.insert(report.notes.end(), results.notes.begin(), results.notes.end());
}

}  // namespace

constinit const Section verdicts_section{"verdicts", add};

}  // namespace espalier
