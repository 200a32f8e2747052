// As what keys and values of attention are kept at run time: part of a recipe, told under "lowbit"
// in config.json, and the type of a cache's pages (kernels/kv_page.h).
#pragma once

#include <optional>
#include <string_view>

namespace lowbit {

enum class KvType { f32, f16, int8, int4 };

std::string_view name_of(KvType type);  // "f32", "f16", "int8", "int4"
std::optional<KvType> kv_type_named(std::string_view name);

}  // namespace lowbit
