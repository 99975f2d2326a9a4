#include "lib/ops/rotary_embedding.h"

namespace espalier {
namespace {

// Of an input [batch, length, heads * size]; one [batch, heads, length, size] needs none.
int64_t heads_of(const Expansion& e) { return int_attribute(e.node, "num_heads", 0); }

bool is_joined(const Expansion& e) { return e.shape(0)->size() == 3; }

// What turns together: half as many numbers as are turned.
int64_t half_of(const Expansion& e) { return e.shape(1)->back(); }

ValueId unsqueezed(Expansion& e, ValueId x, int64_t axis) {
  return e.make("Unsqueeze", {x, e.integers({axis})});
}

ValueId part(Expansion& e, ValueId x, int64_t begin, int64_t end, int64_t axis) {
  return e.make("Slice", {x, e.integers({begin}), e.integers({end}), e.integers({axis})});
}

// The cosines or sines of each place, with an axis of heads: [batch, 1, length, half] or, joined,
// [batch, length, 1, half].
ValueId angles(Expansion& e, size_t cache) {
  ValueId found = e.input(cache);
  if (e.has(3)) found = e.make("Gather", {found, e.input(3)}, {{"axis", int64_t{0}, {}}});
  return unsqueezed(e, found, is_joined(e) ? 2 : 1);
}

struct Pair {
  ValueId first, second;
};

Pair turned(Expansion& e, Pair x, ValueId cosine, ValueId sine) {
  const ValueId first =
      e.make("Sub", {e.make("Mul", {cosine, x.first}), e.make("Mul", {sine, x.second})});
  const ValueId second =
      e.make("Add", {e.make("Mul", {sine, x.first}), e.make("Mul", {cosine, x.second})});
  return {first, second};
}

ValueId joined(Expansion& e, std::vector<ValueId> parts, int64_t axis) {
  return e.make("Concat", std::move(parts), {{"axis", axis, {}}});
}

// Pairs are the halves of what is turned.
ValueId turned_halves(Expansion& e, ValueId x) {
  const int64_t half = half_of(e);
  const Pair y = turned(e, {part(e, x, 0, half, 3), part(e, x, half, 2 * half, 3)}, angles(e, 1),
                        angles(e, 2));
  return joined(e, {y.first, y.second}, 3);
}

// Pairs are neighbours: an axis of two is put in for them.
ValueId turned_neighbours(Expansion& e, ValueId x) {
  const int64_t half = half_of(e);
  const ValueId pairs =
      e.make("Reshape", {part(e, x, 0, 2 * half, 3), e.integers({0, 0, 0, half, 2})});
  const Pair y = turned(e, {part(e, pairs, 0, 1, 4), part(e, pairs, 1, 2, 4)},
                        unsqueezed(e, angles(e, 1), 4), unsqueezed(e, angles(e, 2), 4));
  return e.make("Reshape", {joined(e, {y.first, y.second}, 4), e.integers({0, 0, 0, 2 * half})});
}

}  // namespace

void expand_rotary_embedding(Expansion& e) {
  ValueId x = e.input(0);
  if (is_joined(e)) x = e.make("Reshape", {x, e.integers({0, 0, heads_of(e), -1})});
  ValueId y =
      int_attribute(e.node, "interleaved", 0) != 0 ? turned_neighbours(e, x) : turned_halves(e, x);
  const int64_t size = is_joined(e) ? e.shape(0)->back() / heads_of(e) : e.shape(0)->back();
  if (2 * half_of(e) < size) y = joined(e, {y, part(e, x, 2 * half_of(e), size, 3)}, 3);
  if (is_joined(e)) y = e.make("Reshape", {y, e.integers({0, 0, -1})});
  e.give(0, y);
}

bool is_plain_rotary_embedding(const Expansion& e) {
  const auto x = e.shape(0), cosines = e.shape(1), sines = e.shape(2);
  if (!x || !cosines || !sines || x->empty() || x->back() < 1) return false;
  int64_t size = x->back();
  if (x->size() == 3) {
    if (heads_of(e) < 1 || size % heads_of(e) != 0) return false;
    size /= heads_of(e);
  } else if (x->size() != 4) {
    return false;
  }
  if (cosines->size() != (e.has(3) ? 2U : 3U) || sines->size() != cosines->size()) return false;
  const int64_t half = cosines->back(), dim = int_attribute(e.node, "rotary_embedding_dim", 0);
  return half > 0 && sines->back() == half && 2 * half == (dim == 0 ? size : dim) &&
         2 * half <= size;
}

}  // namespace espalier
