#include "base/dtype.h"

#include <array>

#include "base/check.h"

namespace lowbit {
namespace {

struct Row {
  DType type;
  std::string_view name;
  std::size_t size_bytes;
};

constexpr std::array<Row, 15> kRows{{
    {DType::f64, "F64", 8},
    {DType::f32, "F32", 4},
    {DType::f16, "F16", 2},
    {DType::bf16, "BF16", 2},
    {DType::f8_e4m3, "F8_E4M3", 1},
    {DType::f8_e5m2, "F8_E5M2", 1},
    {DType::i64, "I64", 8},
    {DType::i32, "I32", 4},
    {DType::i16, "I16", 2},
    {DType::i8, "I8", 1},
    {DType::u64, "U64", 8},
    {DType::u32, "U32", 4},
    {DType::u16, "U16", 2},
    {DType::u8, "U8", 1},
    {DType::boolean, "BOOL", 1},
}};

const Row& row(DType type) {
  const auto index = static_cast<std::size_t>(type);
  CHECK(index < kRows.size() && kRows[index].type == type);
  return kRows[index];
}

}  // namespace

std::size_t size_bytes(DType type) { return row(type).size_bytes; }

std::string_view name(DType type) { return row(type).name; }

std::optional<DType> dtype_from_name(std::string_view text) {
  for (const Row& candidate : kRows) {
    if (candidate.name == text) return candidate.type;
  }
  return std::nullopt;
}

}  // namespace lowbit
