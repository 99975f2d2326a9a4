#include <fmt/format.h>

#include <algorithm>

#include "lib/verify/data.h"

namespace espalier {

// Joins output by output: checks that the other axes agree, then copies the feeds one after another.
Feed join_outputs(const std::vector<Feed>& outputs, bool stacked) {
  Feed result;
  if (outputs.empty()) return result;
  for (const auto& [name, first] : outputs.front()) {
    // A scalar per feed can only be stacked.
    const bool new_axis = stacked || first.shape().empty();
    Shape shape = first.shape();
    if (new_axis) shape.insert(shape.begin(), 0);
    shape[0] = 0;
    for (const Feed& feed : outputs) {
      const Tensor& part = feed.at(name);
      Shape rest = part.shape();
      if (new_axis) rest.insert(rest.begin(), 1);
      const bool fits = part.dtype() == first.dtype() && rest.size() == shape.size() &&
                        std::equal(rest.begin() + 1, rest.end(), shape.begin() + 1);
      if (!fits) {
        throw Error(
            Fault::kUnsupported,
            fmt::format("output {}: one array cannot hold the shapes {} and {}", printable(name),
                        to_string(first.shape()), to_string(part.shape())));
      }
      shape[0] += rest[0];
    }
    Tensor joined = Tensor::zeros(first.dtype(), shape);
    std::span<std::byte> rest = joined.mutable_bytes();
    for (const Feed& feed : outputs) {
      const Bytes bytes = feed.at(name).bytes();
      std::ranges::copy(bytes, rest.begin());
      rest = rest.subspan(bytes.size());
    }
    result.emplace(name, std::move(joined));
  }
  return result;
}

}  // namespace espalier
