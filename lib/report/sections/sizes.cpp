#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/report/results.h"

namespace espalier {
namespace {

Record file_record(std::string key, const FileInfo& file) {
  return {std::move(key),
          {{"file", cell_or_null(file.file)},
           {"bytes", file.bytes ? count_cell(*file.bytes) : Cell()}}};
}

std::string named(const FileInfo& file) {
  return file.bytes ? fmt::format("{} ({})", printable(file.file), format_bytes(*file.bytes))
                    : std::string("(not written)");
}

void add_speed(const PackResults& pack, Report& report) {
  if (!pack.speed) {
    report.parts.emplace_back(Nothing{"speed"});
    return;
  }
  const PackSpeed& speed = *pack.speed;
  report.parts.emplace_back(Record{"speed",
                                   {{"dense_ms", speed.dense_ms},
                                    {"packed_ms", speed.packed_ms},
                                    {"speedup", speed.dense_ms / speed.packed_ms},
                                    {"threads", count_cell(speed.threads)},
                                    {"runs", count_cell(speed.runs)},
                                    {"spread", speed.spread}}});
}

// prune and convert: what was read, what was written, with which options.
void add(const Results& results, Report& report) {
  if (!results.pack) return;
  const PackResults& pack = *results.pack;
  report.parts.emplace_back(file_record("input", pack.input));
  report.parts.emplace_back(file_record("output", pack.output));
  report.parts.emplace_back(Record{"options", pack.options});
  if (pack.metric) {
    const MetricPair& m = *pack.metric;
    Record record{"metric",
                  {{"name", m.name},
                   {"a", m.a},
                   {"b", m.b},
                   {"drop", metric_drop(m.name, m.a, m.b)},
                   {"drop_low", cell(m.drop_low)},
                   {"drop_high", cell(m.drop_high)}}};
    if (m.magnitude) record.fields.emplace_back("magnitude", *m.magnitude);
    report.parts.emplace_back(std::move(record));
  } else {
    report.parts.emplace_back(Nothing{"metric"});
  }
  add_speed(pack, report);
  report.head.push_back(fmt::format("{} -> {}", named(pack.input), named(pack.output)));
  std::string line;
  for (const auto& [key, value] : pack.options) {
    if (std::holds_alternative<std::monostate>(value)) continue;
    line +=
        fmt::format("{}{} {}", line.empty() ? "" : ", ", key, format_cell(value, Unit::kNumber));
  }
  report.head.push_back(line);
}

}  // namespace

constinit const Section sizes_section{"sizes", add};

}  // namespace espalier
