#pragma once

#include <memory>

#include "formats/archive/archive.h"

namespace espalier {

/// Unpacks a gzip file (one gzip member or several in a row) into memory.
/// Errors  Fault::kFormat: damaged, cut off, or more than `limit` bytes; memory stays below that.
Member gunzip(Bytes packed, size_t limit);

}  // namespace espalier
