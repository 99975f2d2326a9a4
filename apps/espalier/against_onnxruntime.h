#pragma once

#include <filesystem>
#include <string>

#include "lib/runtime/executor.h"
#include "lib/verify/timing.h"

namespace espalier {

/// A model's times in another runtime.
struct OtherRuntime {
  std::string name;  ///< with its version: "onnxruntime 1.23.2"
  Timing timing;
};

/// Times an ONNX file in the onnxruntime of Python: the program that ESPALIER_PYTHON names, else
/// python3. `feed` has the file's own names; warm-up and seconds as in time_interleaved(), but not
/// interleaved with anything.
/// Errors  Fault::kUnsupported: Python or onnxruntime is not there, or refuses the model, in the
/// last line of its words.
OtherRuntime time_in_onnxruntime(const std::filesystem::path& model, const Feed& feed,
                                 const TimingOptions& options, size_t threads);

}  // namespace espalier
