// Resize and Upsample: whole factors by operators that all readers have, the rest as tract does it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/nnef/write/operators.h"

namespace espalier::nnef {
namespace {

// What ONNX's Resize says, for every opset of Resize and Upsample.
struct Resizing {
  Wire x;
  std::string mode, coordinates, nearest;
  std::optional<size_t> aux;   // the input that holds scales or sizes
  bool by_sizes = false;       // what that input is
  std::vector<double> scales;  // per axis; empty where they depend on free dimensions
  Extents extents;             // of the output
};

void refuse_unusual(NodeWriter& n) {
  if (int_attribute(n.node, "antialias", 0) != 0) n.fail("antialias is not supported");
  if (int_attribute(n.node, "exclude_outside", 0) != 0) n.fail("exclude_outside is not supported");
  if (find_attribute(n.node, "axes") != nullptr) n.fail("axes are not supported");
  if (string_attribute(n.node, "keep_aspect_ratio_policy", "stretch") != "stretch") {
    n.fail("keep_aspect_ratio_policy is not supported");
  }
}

bool is_empty(const NodeWriter& n, size_t input) {
  if (!n.has(input)) return true;
  const auto extents = n.known_extents(input);
  return extents && extents->size() == 1 && (*extents)[0].is(0);
}

void scale_by(NodeWriter& n, Resizing& r, const std::vector<float>& scales) {
  if (scales.size() != r.x.extents->size()) n.fail("expected one scale per axis");
  for (size_t i = 0; i < scales.size(); ++i) {
    const double scale = scales[i];
    const Dim& extent = (*r.x.extents)[i];
    constexpr double kMaxScale = 1 << 16;
    if (!(scale > 0 && scale <= kMaxScale)) n.fail(fmt::format("a scale is {}", scale));
    r.scales.push_back(scale);
    if (scale == std::floor(scale)) {
      r.extents.push_back(extent * Dim(static_cast<int64_t>(scale)));
    } else if (const auto size = extent.constant()) {
      r.extents.emplace_back(static_cast<int64_t>(std::floor(static_cast<double>(*size) * scale)));
    } else {
      r.extents.push_back(Dim::unknown());
    }
  }
}

void scale_to(NodeWriter& n, Resizing& r, const Extents& sizes) {
  if (sizes.size() != r.x.extents->size()) n.fail("expected one size per axis");
  r.extents = sizes;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const Dim& extent = (*r.x.extents)[i];
    const auto whole = exact_quotient(sizes[i], extent);
    if (whole && whole->constant()) {
      r.scales.push_back(static_cast<double>(*whole->constant()));
    } else if (sizes[i].constant() && extent.constant() && *extent.constant() > 0) {
      r.scales.push_back(static_cast<double>(*sizes[i].constant()) /
                         static_cast<double>(*extent.constant()));
    } else {
      n.fail("sizes depend on free dimensions: bind them (--input-shape)");
    }
  }
}

Resizing resizing_of(NodeWriter& n) {
  refuse_unusual(n);
  Resizing r;
  r.x = n.ranked(0);
  r.mode = string_attribute(n.node, "mode", "nearest");
  const bool old = n.node.op == "Upsample" || n.opset() < 11;
  r.coordinates =
      old ? "asymmetric" : string_attribute(n.node, "coordinate_transformation_mode", "half_pixel");
  r.nearest = old ? "floor" : string_attribute(n.node, "nearest_mode", "round_prefer_floor");
  const std::vector<float> attribute = floats_attribute(n.node, "scales", {});
  const size_t scales = old ? 1 : 2;
  if (!attribute.empty()) {
    scale_by(n, r, attribute);
  } else if (!is_empty(n, scales)) {
    r.aux = scales;
    scale_by(n, r, n.floats(scales));
  } else {
    if (old) n.fail("scales are missing");
    r.aux = 3;
    r.by_sizes = true;
    scale_to(n, r, n.extents(3));
  }
  return r;
}

// Whether output i is input floor(i / factor): so are all ways of rounding of symmetric
// coordinates.
bool repeats_elements(const Resizing& r) {
  if (r.mode != "nearest") return false;
  if (r.coordinates == "asymmetric") return r.nearest == "floor";
  return r.coordinates == "half_pixel" && r.nearest.starts_with("round_prefer_");
}

void repeat(NodeWriter& n, const Resizing& r) {
  std::vector<int64_t> new_axes, repeats, at;
  for (size_t i = 0; i < r.scales.size(); ++i) {
    repeats.push_back(1);
    if (r.scales[i] == 1) continue;
    at.push_back(static_cast<int64_t>(i));
    new_axes.push_back(static_cast<int64_t>(repeats.size()));
    repeats.push_back(static_cast<int64_t>(r.scales[i]));
  }
  if (at.empty()) return n.set(0, r.x);
  const Wire apart = n.text.unsqueeze(r.x, new_axes);
  Extents extents = *apart.extents;
  for (size_t i = 0; i < extents.size(); ++i) extents[i] = extents[i] * Dim(repeats[i]);
  Wire tiled = n.step("tiled", fmt::format("tile({}, repeats = {})", apart.id, list(repeats)),
                      extents, r.x.dtype);
  for (const int64_t axis : at) {
    tiled = merge_axes(n, tiled, static_cast<size_t>(axis), axis == at.back() ? n.id() : "");
  }
  n.set(0, tiled);
}

// As NNEF calls them; "" for those that it has not.
std::string_view method_of(const Resizing& r) {
  if (r.mode != "linear") return "";
  if (r.coordinates == "half_pixel") return "symmetric";
  if (r.coordinates == "asymmetric") return "asymmetric";
  return r.coordinates == "align_corners" ? "aligned" : "";
}

void as_tract(NodeWriter& n, const Resizing& r) {
  if (r.mode == "nearest" && r.nearest != "floor" && r.nearest != "round_prefer_ceil") {
    n.fail(
        fmt::format("nearest_mode '{}' with these scales is not supported", printable(r.nearest)));
  }
  if (r.coordinates == "tf_crop_and_resize" || r.coordinates.empty()) {
    n.fail(fmt::format("coordinate_transformation_mode '{}' is not supported",
                       printable(r.coordinates)));
  }
  if (r.mode == "cubic" && float_attribute(n.node, "cubic_coeff_a", -0.75F) != -0.75F) {
    n.fail("cubic_coeff_a must be -0.75");
  }
  if (!r.aux) n.fail("these scales in an attribute are not supported");
  n.set(fmt::format("tract_core_resize({}, {} = {}, coord_transformer = '{}', interpolator = '{}', "
                    "nearest_mode = '{}')",
                    r.x.id, r.by_sizes ? "sizes" : "scales", n.wire(*r.aux).id, r.coordinates,
                    r.mode, r.mode == "nearest" ? r.nearest : "floor"),
        r.extents, r.x.dtype);
}

}  // namespace

void spell_resize(NodeWriter& n) {
  const Resizing r = resizing_of(n);
  if (r.mode != "nearest" && r.mode != "linear" && r.mode != "cubic") {
    n.fail(fmt::format("mode '{}' is not supported", printable(r.mode)));
  }
  const bool whole =
      std::ranges::all_of(r.scales, [](double scale) { return scale == std::floor(scale); });
  if (whole && repeats_elements(r)) return repeat(n, r);
  const bool spatial = r.scales.size() > 2 && r.scales[0] == 1 && r.scales[1] == 1;
  if (!whole || !spatial || method_of(r).empty()) return as_tract(n, r);
  const std::vector<int64_t> factors(r.scales.begin() + 2, r.scales.end());
  // Of the standard, but tract has it in its registry alone.
  if (!n.is_standard_only()) n.need_tract();
  n.set(fmt::format("multilinear_upsample({}, factor = {}, method = '{}', border = 'replicate')",
                    r.x.id, list(factors), method_of(r)),
        r.extents, r.x.dtype);
}

void spell_grid_sample(NodeWriter& n) {
  const Wire x = n.ranked(0), grid = n.ranked(1);
  const size_t rank = x.extents->size();
  if (rank < 3 || grid.extents->size() != rank) n.fail("input and grid differ in rank");
  // "linear" and "cubic" from opset 20 on.
  std::string mode = string_attribute(n.node, "mode", n.opset() >= 20 ? "linear" : "bilinear");
  if (mode == "linear") mode = "bilinear";
  if (mode == "cubic") mode = "bicubic";
  if (mode != "bilinear" && mode != "nearest") {
    n.fail(fmt::format("mode '{}' is not supported", printable(mode)));
  }
  const std::string padding = string_attribute(n.node, "padding_mode", "zeros");
  if (padding != "zeros" && padding != "border" && padding != "reflection") {
    n.fail(fmt::format("padding_mode '{}' is not supported", printable(padding)));
  }
  Extents extents = {(*x.extents)[0], (*x.extents)[1]};
  extents.insert(extents.end(), grid.extents->begin() + 1, grid.extents->end() - 1);
  n.set(fmt::format("tract_core_grid_sample({}, {}, mode = '{}', padding_mode = '{}', "
                    "align_corners = {})",
                    x.id, grid.id, mode, padding, int_attribute(n.node, "align_corners", 0) != 0),
        extents, x.dtype);
}

}  // namespace espalier::nnef
