#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "formats/nnef/language/document.h"

namespace espalier::nnef {

Type primitive(std::string name);
Type tensor_of(std::string name);
Type array_of(Type item);
/// The type of []: an array of anything.
Type empty_array();

bool same(const Type& a, const Type& b);
bool is_primitive(const Type& type, std::string_view name);
bool is_tensor(const Type& type, std::string_view name);
/// No tensor, and no array or tuple of tensors.
bool is_attribute(const Type& type);
/// Whether ? stands anywhere in it.
bool is_generic(const Type& type);
/// The type itself and all types inside of it.
size_t parts_of(const Type& type);
/// As print(), but "[]" for an empty array.
std::string name_of(const Type& type);

/// Whether a value of type `from` can be used as `to`: a primitive as a tensor of its type,
/// anything as a tensor of any type.
bool castable(const Type& from, const Type& to);
/// The type that both can be used as.
std::optional<Type> common(const Type& a, const Type& b);
/// `type` with `item` in place of ?.
Type bound(Type type, const std::string& item);

}  // namespace espalier::nnef
