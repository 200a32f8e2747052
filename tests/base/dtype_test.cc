#include "base/dtype.h"

#include <gtest/gtest.h>

namespace lowbit {
namespace {

TEST(DType, NamesAreThoseOfSafetensors) {
  EXPECT_EQ(name(DType::bf16), "BF16");
  EXPECT_EQ(name(DType::f8_e4m3), "F8_E4M3");
  EXPECT_EQ(name(DType::boolean), "BOOL");
}

TEST(DType, EveryNameLeadsBackToItsType) {
  for (int i = 0; i <= static_cast<int>(DType::boolean); ++i) {
    const auto type = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(name(type)), type);
    EXPECT_GE(size_bytes(type), 1u);
  }
}

TEST(DType, UnknownNamesHaveNoType) {
  EXPECT_FALSE(dtype_from_name("bf16"));
  EXPECT_FALSE(dtype_from_name(""));
  EXPECT_FALSE(dtype_from_name("F4"));
}

}  // namespace
}  // namespace lowbit
