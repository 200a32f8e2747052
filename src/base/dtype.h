// Element types of stored tensors, with their safetensors names.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace lowbit {

enum class DType {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean
};

std::size_t size_bytes(DType type);
std::string_view name(DType type);                            // "BF16"
std::optional<DType> dtype_from_name(std::string_view text);  // nothing when unknown

}  // namespace lowbit
