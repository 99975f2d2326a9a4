#include "apps/espalier/mask_file.h"

#include "formats/npy/npy.h"
#include "lib/base/error.h"

namespace espalier {

Masks read_masks(const std::string& file) {
  const std::map<std::string, Tensor> arrays = read_npz_file(file);
  try {
    return masks_of_arrays(arrays);
  } catch (Error& error) {
    error.add_context(printable(file));
    throw;
  }
}

void write_masks(const std::string& file, const Masks& masks) {
  write_npz_file(file, arrays_of(masks));
}

}  // namespace espalier
