#include "formats/nnef/language/types.h"

#include <algorithm>
#include <utility>

namespace espalier::nnef {
namespace {

using TypeKind = Type::Kind;

bool is_item(const std::string& from, const std::string& to) { return from == to || to == "?"; }

}  // namespace

Type primitive(std::string name) { return {TypeKind::primitive, std::move(name), {}}; }
Type tensor_of(std::string name) { return {TypeKind::tensor, std::move(name), {}}; }
Type array_of(Type item) { return {TypeKind::array, "", {std::move(item)}}; }
Type empty_array() { return {TypeKind::array, "", {}}; }

bool same(const Type& a, const Type& b) {
  return a.kind == b.kind && a.name == b.name && std::ranges::equal(a.items, b.items, same);
}

bool is_attribute(const Type& type) {
  if (type.kind == TypeKind::tensor) return false;
  return type.items.empty() || is_attribute(type.items[0]);
}

bool is_generic(const Type& type) {
  return type.name == "?" || std::ranges::any_of(type.items, is_generic);
}

size_t parts_of(const Type& type) {
  size_t parts = 1;
  for (const Type& item : type.items) parts += parts_of(item);
  return parts;
}

std::string name_of(const Type& type) {
  const bool is_empty = type.kind == TypeKind::array && type.items.empty();
  return is_empty ? "[]" : print(type);
}

bool castable(const Type& from, const Type& to) {
  if (to.kind == TypeKind::tensor) {
    if (from.kind != TypeKind::tensor && from.kind != TypeKind::primitive) return false;
    return to.name.empty() || (!from.name.empty() && is_item(from.name, to.name));
  }
  if (from.kind != to.kind) return false;
  if (from.kind == TypeKind::primitive) return is_item(from.name, to.name);
  if (from.kind == TypeKind::array && from.items.empty()) return true;
  return from.items.size() == to.items.size() &&
         std::equal(from.items.begin(), from.items.end(), to.items.begin(), castable);
}

std::optional<Type> common(const Type& a, const Type& b) {
  if (castable(a, b)) return b;
  if (castable(b, a)) return a;
  return std::nullopt;
}

Type bound(Type type, const std::string& item) {
  if (type.name == "?") type.name = item;
  for (Type& part : type.items) part = bound(std::move(part), item);
  return type;
}

bool is_primitive(const Type& type, std::string_view name) {
  return type.kind == TypeKind::primitive && type.name == name;
}
bool is_tensor(const Type& type, std::string_view name) {
  return type.kind == TypeKind::tensor && type.name == name;
}

}  // namespace espalier::nnef
