#include "formats/onnx/onnx_model.h"
#include "lib/base/check.h"
#include "lib/base/log.h"

// What is read can be written in every profile; written as it was, it is read again and written to
// the same bytes.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace espalier;
  set_log_level(LogLevel::kQuiet);
  const auto read = [](Bytes bytes) { return read_onnx(bytes, nullptr, std::nullopt); };
  Model model;
  try {
    model = read(std::as_bytes(std::span(data, size)));
  } catch (const Error&) {
    return 0;
  }
  std::string bytes;
  try {
    bytes = onnx_bytes(model);
  } catch (const Error&) {  // a value of no known type, a function of espalier's name
    return 0;
  }
  ESPALIER_CHECK(onnx_bytes(read(as_bytes(bytes))) == bytes);
  for (const char* profile : {"function", "inline", "sparse-value", "dense"}) {
    WriteOptions options;
    options.profile = profile;
    try {
      const std::string packed = onnx_bytes(model, options);
      read(as_bytes(packed));
    } catch (const Error&) {
    }
  }
  return 0;
}
