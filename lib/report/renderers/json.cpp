// The report as one JSON object; which keys there are is the sections' choice.

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/report/report.h"

namespace espalier {
namespace {

using Json = nlohmann::ordered_json;

Json value_of(const Cell& cell) {
  struct Visitor {
    Json operator()(std::monostate) const { return nullptr; }
    Json operator()(bool value) const { return value; }
    Json operator()(int64_t value) const { return value; }
    Json operator()(double value) const {
      return std::isfinite(value) ? Json(value) : Json(nullptr);
    }
    Json operator()(const std::string& value) const { return value; }
    Json operator()(const Shape& value) const { return value; }
    Json operator()(const std::map<std::string, Shape>& value) const {
      Json object = Json::object();
      for (const auto& [name, shape] : value) object[name] = shape;
      return object;
    }
    Json operator()(const std::vector<std::string>& names) const {
      Json list = Json::array();
      for (const std::string& name : names) list.push_back(name.empty() ? Json() : Json(name));
      return list;
    }
  };
  return std::visit(Visitor{}, cell);
}

// The object that "a.b" names, made where it is not there.
Json& object_of(std::string_view key, Json& root) {
  if (key.empty()) return root;
  const size_t dot = std::min(key.find('.'), key.size());
  Json& object = root[std::string(key.substr(0, dot))];
  if (object.is_null()) object = Json::object();
  return object_of(key.substr(std::min(dot + 1, key.size())), object);
}

void add_record(const Record& record, Json& root) {
  Json& object = object_of(record.key, root);
  for (const auto& [key, value] : record.fields) object[key] = value_of(value);
}

void add_table(const Table& table, Json& root) {
  if (table.key.empty()) return;
  Json rows = Json::array();
  for (const auto& cells : table.rows) {
    Json row = Json::object();
    for (size_t i = 0; i < table.columns.size(); ++i) {
      if (!table.columns[i].key.empty()) row[table.columns[i].key] = value_of(cells[i]);
    }
    rows.push_back(std::move(row));
  }
  root[table.key] = std::move(rows);
}

Json verdicts(const Report& report) {
  Json list = Json::array();
  for (const Verdict& verdict : report.verdicts) {
    list.push_back({{"name", verdict.name},
                    {"ok", verdict.ok ? Json(*verdict.ok) : Json(nullptr)},
                    {"text", verdict.text}});
  }
  return list;
}

std::string render(const Report& report, const RenderOptions&) {
  struct Visitor {
    Json& root;
    void operator()(const Record& record) const { add_record(record, root); }
    void operator()(const Table& table) const { add_table(table, root); }
    void operator()(const Nothing& nothing) const { root[nothing.key] = nullptr; }
  };
  Json root = Json::object();
  for (const auto& part : report.parts) std::visit(Visitor{root}, part);
  if (report.has_verdicts) root["verdicts"] = verdicts(report);
  // Escaped to ASCII, so that a name from a file does nothing to a terminal; bytes that are no
  // UTF-8 are replaced.
  return root.dump(1, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace

constinit const Renderer json_renderer{"json", "one object, keys as documented", render};

}  // namespace espalier
