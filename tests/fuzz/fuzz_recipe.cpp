#include "lib/base/check.h"
#include "lib/base/error.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/prune/options/recipe_json.h"

namespace {

using namespace espalier;

template <typename Parse>
void try_to(const Parse& parse) {
  try {
    parse();
  } catch (const Error&) {
  }
}

}  // namespace

// A recipe that is read is written, and read again, to the same text; what is wrong with one is a
// fault of the file, never of the command line. The same bytes as each option of the command line.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const std::string written = recipe_json(read_recipe(text));
    ESPALIER_CHECK(recipe_json(read_recipe(written)) == written);
  } catch (const Error& error) {
    ESPALIER_CHECK(error.fault() != Fault::kUsage);
  }
  try_to([&] { parse_layer_rule(text); });
  try_to([&] { parse_nm(text); });
  try_to([&] { parse_schedule(text); });
  try_to([&] { parse_max_drop(text); });
  try_to([&] { parse_block_shape(text); });
  return 0;
}
