#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/tensor/shape.h"

namespace espalier {

/// What a column's cells are, and so how paper shows them; JSON always gets the bare value.
enum class Unit {
  kText,
  kCount,
  kShare,         ///< 0 to 1; paper shows percent
  kBytes,         ///< paper shows kB, MB
  kMilliseconds,  ///< three digits that count
  kNumber,        ///< three digits that count
  kRatio,         ///< "2.31x"
  kYesNo,
  kReason,  ///< why the row has nothing else to show: such rows come last on paper
};

/// monostate: not measured (JSON null); also what a number that is not finite becomes.
/// In a list of names "" is no name (JSON null).
using Cell = std::variant<std::monostate, bool, int64_t, double, std::string, Shape,
                          std::map<std::string, Shape>, std::vector<std::string>>;

inline Cell cell(std::optional<double> value) { return value ? Cell(*value) : Cell(); }
inline Cell cell_or_null(const std::string& text) { return text.empty() ? Cell() : Cell(text); }
inline Cell count_cell(uint64_t value) { return static_cast<int64_t>(value); }

/// A column without a key is not in JSON, one without a title not on paper.
struct Column {
  std::string key, title;
  Unit unit = Unit::kText;
};

/// Rows and `total` are parallel to `columns`.
struct Table {
  std::string key, title;
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;
  std::vector<Cell> total;            ///< empty: none
  std::optional<size_t> chosen = {};  ///< row that a page marks
};

/// Values over the x of a chart; nothing where there is none.
struct Series {
  std::string label;
  Unit unit = Unit::kNumber;
  std::vector<std::optional<double>> values;
  bool right = false;  ///< on the second axis
  bool line = true;    ///< else points alone
  bool fits = true;    ///< the axis makes room for it; else it may leave the picture
  bool big = false;    ///< large points
};

/// A picture of numbers, for pages.
struct Chart {
  std::string table;  ///< key of the table above which it is drawn
  std::string title, x_label, y_label, right_label;
  Unit x_unit = Unit::kNumber;
  std::vector<double> x;  ///< rising
  std::vector<Series> series;
  std::vector<std::string> labels;      ///< of each x, or empty
  std::optional<double> limit, chosen;  ///< a line at that y, and at that x
  std::string limit_label;
};

/// Which blocks of a weight are kept, for pages: `cells`, row by row, have the share of each that is
/// kept as a hexadecimal digit (f: all of it). Of a large mask a cell is several blocks.
struct MaskPicture {
  std::string name, about;
  size_t rows = 0, cols = 0;            ///< of cells
  double cell_rows = 1, cell_cols = 1;  ///< outputs and inputs of one
  size_t parts = 1;                     ///< gates or groups, one below the other
  bool diagonal = false;                ///< each part's is kept apart
  std::string cells;
};

/// An object of the JSON file; one without a key is the outermost object, "a.b" is `b` in `a`. Not on
/// paper.
struct Record {
  std::string key;
  std::vector<std::pair<std::string, Cell>> fields;
};

/// A JSON null under a key: what could have been measured and was not.
struct Nothing {
  std::string key;
};

/// One line of judgement. `ok` is nothing where it was not measured. `figure`: the number that it is
/// about, for a page's card.
struct Verdict {
  std::string name;
  std::optional<bool> ok;
  std::string text;
  std::string figure = {};
};

/// What the renderers print, and all that they know. Text from files stands here as it is: the
/// renderers make it harmless.
struct Report {
  std::string title;
  std::vector<std::string> head;  ///< lines above the tables, on paper only
  std::vector<std::variant<Record, Table, Nothing>> parts;
  bool has_verdicts = false;
  std::vector<Verdict> verdicts;
  std::vector<std::string> notes;  ///< lines at the end, on paper only
  // On pages only:
  std::vector<std::pair<std::string, std::string>> about;  ///< how the report came about
  std::vector<Chart> charts;
  std::vector<MaskPicture> masks;
};

struct Results;

/// Adds to the report what there is about its matter in the results (lib/report/sections.def).
struct Section {
  std::string_view name;
  void (*add)(const Results& results, Report& report);
};
#define ESPALIER_SECTION(name) extern constinit const Section name##_section;
#include "lib/report/sections.def"
std::span<const Section* const> sections();

/// All sections in the list's order.
Report make_report(const Results& results);

struct RenderOptions {
  // Text only:
  size_t width = 110;  ///< columns of the terminal
  bool wrap = false;   ///< lines around the tables are broken at that width, too
  bool ascii = false;  ///< plain ASCII: frames of "+-|", other characters as \uXXXX
};

/// One form of a report (lib/report/renderers.def).
struct Renderer {
  std::string_view name, summary;
  std::string (*render)(const Report& report, const RenderOptions& options);
};
#define ESPALIER_RENDERER(name) extern constinit const Renderer name##_renderer;
#include "lib/report/renderers.def"
std::span<const Renderer* const> renderers();
/// Null where there is none of that name.
const Renderer* find_renderer(std::string_view name);

/// The cell as paper shows it, made printable; "-" where it was not measured.
std::string format_cell(const Cell& cell, Unit unit);
/// "340 kB", "1.67 MB".
std::string format_bytes(uint64_t bytes);
/// "340", "1.67 k", "2.5 M": of things that are counted.
std::string format_count(double count);
/// Three digits that count, no exponent between 0.0001 and 999999.
std::string format_number(double value);
/// Numbers stand at the right edge of their column.
bool right_aligned(Unit unit);

}  // namespace espalier
