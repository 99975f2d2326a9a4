#include "apps/espalier/sweep_store.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/espalier/keyed_files.h"
#include "lib/base/mapped_file.h"
#include "lib/base/output_file.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json number(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

std::optional<double> optional_number(const Json& json, const char* key) {
  const Json& value = json.at(key);
  return value.is_null() ? std::nullopt : std::optional(value.get<double>());
}

Json json_of(const SweepRecord& record) {
  const SweepPoint& p = record.point;
  return {{"name", record.name},
          {"key", record.key},
          {"sweep", record.sweep},
          {"index", record.index},
          {"of", record.of},
          {"recipe", Json::parse(record.recipe)},
          {"method", p.method},
          {"block", p.block},
          {"values", p.values},
          {"effort", p.effort},
          {"sparsity", p.sparsity},
          {"file", p.file},
          {"sha256", p.sha256},
          {"bytes", p.bytes},
          {"zeros", p.zeros},
          {"output_error", number(p.output_error)},
          {"metric", number(p.metric)},
          {"median_ms", number(p.median_ms)},
          {"dense_ms", number(record.dense_ms)}};
}

// As json_of() wrote it.
SweepRecord record_of(const Json& json) {
  SweepRecord record;
  record.name = json.at("name");
  record.key = json.at("key");
  record.sweep = json.at("sweep");
  record.index = json.at("index");
  record.of = json.at("of");
  record.recipe = json.at("recipe").dump(2) + "\n";
  record.dense_ms = optional_number(json, "dense_ms");
  SweepPoint& p = record.point;
  p.method = json.at("method");
  p.block = json.at("block");
  p.values = json.at("values");
  p.effort = json.value("effort", "");
  p.sparsity = json.at("sparsity");
  p.file = json.at("file");
  p.sha256 = json.at("sha256");
  p.bytes = json.at("bytes");
  p.zeros = json.at("zeros");
  p.output_error = optional_number(json, "output_error");
  p.metric = optional_number(json, "metric");
  p.median_ms = optional_number(json, "median_ms");
  if (p.median_ms && record.dense_ms) p.speedup = *record.dense_ms / *p.median_ms;
  return record;
}

Json json_of(const SweepReference& r) {
  return {{"key", r.key},
          {"sweep", r.sweep},
          {"model", r.model},
          {"metric_name", r.metric},
          {"file", r.reference.file},
          {"bytes", r.reference.bytes},
          {"median_ms", number(r.reference.median_ms)},
          {"metric", number(r.reference.metric)}};
}

SweepReference reference_of(const Json& json) {
  SweepReference r;
  r.key = json.at("key");
  r.sweep = json.at("sweep");
  r.model = json.at("model");
  r.metric = json.at("metric_name");
  r.reference.file = json.at("file");
  r.reference.bytes = json.at("bytes");
  r.reference.median_ms = optional_number(json, "median_ms");
  r.reference.metric = optional_number(json, "metric");
  return r;
}

template <typename Parse>
auto read(const fs::path& file, const Parse& parse) {
  try {
    return parse(Json::parse(as_text(MappedFile::open(file)->bytes())));
  } catch (const nlohmann::json::exception& error) {
    throw Error(Fault::kFormat, fmt::format("{}: is not a record of a sweep: {}",
                                            printable(file.string(), 4096), error.what()));
  }
}

template <typename Parse>
auto read_where_there(const fs::path& file, const Parse& parse)
    -> std::optional<decltype(parse(Json()))> {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return std::nullopt;
  return read(file, parse);
}

// A record's name in messages and files is one that sweep made.
bool is_reference(const fs::path& file) {
  return file.filename() == "dense.json" || file.filename() == "int8.json";
}

}  // namespace

fs::path SweepStore::file(const std::string& name) const {
  return folder_ / "points" / (name + ".json");
}

void SweepStore::create() const {
  std::error_code fault;
  fs::create_directories(folder_ / "points", fault);
  if (fault) {
    throw Error(Fault::kFormat, fmt::format("{}: cannot be written: {}",
                                            printable(folder_.string(), 4096), fault.message()));
  }
}

bool SweepStore::intact(const std::string& file, const std::string& digest) const {
  std::error_code ignored;
  const fs::path path = folder_ / file;
  return fs::exists(path, ignored) && model_digest(path) == digest;
}

std::optional<SweepRecord> SweepStore::find(const std::string& name, const std::string& key) const {
  auto record = read_where_there(file(name), record_of);
  if (!record || record->key != key || !intact(record->point.file, record->point.sha256))
    return std::nullopt;
  return record;
}

std::optional<SweepReference> SweepStore::find_reference(const std::string& name,
                                                         const std::string& key) const {
  auto found = reference(name);
  return found && found->key == key ? found : std::nullopt;
}

std::optional<SweepReference> SweepStore::reference(const std::string& name) const {
  return read_where_there(file(name), reference_of);
}

void SweepStore::write(const SweepRecord& record) const {
  write_file(file(record.name), as_bytes(json_of(record).dump(1) + "\n"));
}

void SweepStore::write(const std::string& name, const SweepReference& reference) const {
  write_file(file(name), as_bytes(json_of(reference).dump(1) + "\n"));
}

std::vector<SweepRecord> SweepStore::all() const {
  std::vector<SweepRecord> records;
  std::error_code fault;
  for (const auto& entry : fs::directory_iterator(folder_ / "points", fault)) {
    if (entry.path().extension() != ".json" || is_reference(entry.path())) continue;
    records.push_back(read(entry.path(), record_of));
  }
  if (fault) {
    throw Error(Fault::kFormat, fmt::format("{}: holds no sweep: {}",
                                            printable(folder_.string(), 4096), fault.message()));
  }
  std::ranges::sort(records, {}, &SweepRecord::index);
  return records;
}

}  // namespace espalier
