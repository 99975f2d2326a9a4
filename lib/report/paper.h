#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/report/report.h"

namespace espalier {

/// A table as paper shows it: every cell a printable text, columns without a title gone.
struct PaperTable {
  std::string title;
  std::vector<Column> columns;                        ///< without the column of reasons
  std::vector<std::vector<std::string>> rows, total;  ///< `total` holds one row or none
  /// Rows with a reason: their first two cells, and the reason. Long lists come together by reason.
  struct LeftOut {
    std::string what, reason;
  };
  std::vector<LeftOut> left_out;
  const Table* source = nullptr;                  ///< in the report that it was made of
  std::vector<size_t> row_places, column_places;  ///< of `rows` and `columns` in the source
};

/// `spread` rows with reasons are listed one by one; where there are more, one line per reason.
PaperTable on_paper(const Table& table, size_t spread = 12);

/// Tables of the report that have something for paper.
std::vector<PaperTable> paper_tables(const Report& report);

/// Columns of a terminal that the text takes: code points, two for wide East Asian ones.
size_t display_width(std::string_view text);
/// The middle replaced by an ellipsis where the text is wider than `width`.
std::string shortened(std::string_view text, size_t width);

/// The text in lines of at most `width` columns, broken at blanks, or within a word that is longer;
/// all but the first begin with `indent` blanks.
std::vector<std::string> wrapped(std::string_view text, size_t width, size_t indent);
/// Characters outside of ASCII as \uXXXX; box frames and the ellipsis of shortened() stay.
std::string ascii_escaped(const std::string& text);

/// "ok", "NOT ok" or "-".
std::string_view mark(const Verdict& verdict);

}  // namespace espalier
