#pragma once

#include "lib/report/report.h"

namespace espalier {

/// How text is to be laid out on stdout: the terminal's width, else that of COLUMNS, else 110
/// columns whose lines around the tables are not broken; plain ASCII where the locale is not UTF-8.
RenderOptions terminal_options();

/// Whether LC_ALL, LC_CTYPE or LANG, the first that is set, asks for UTF-8. The names decide: a
/// locale that is not installed still tells what the terminal shows.
bool locale_is_utf8();

}  // namespace espalier
