#include "base/half_float.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace lowbit {
namespace {

constexpr int kAllValues = 65536;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The value of a half by its definition: sign, 5 bits of exponent, 10 of fraction.
double half_by_definition(int bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Half, EveryFiniteValueIsThatOfTheDefinition) {
  for (int bits = 0; bits < kAllValues; ++bits) {
    if ((bits >> 10 & 31) == 31) continue;
    ASSERT_EQ(f16_to_float(static_cast<std::uint16_t>(bits)), half_by_definition(bits)) << bits;
  }
}

TEST(Half, EveryValueComesBackTheSame) {
  for (int bits = 0; bits < kAllValues; ++bits) {
    const auto stored = static_cast<std::uint16_t>(bits);
    ASSERT_EQ(float_to_f16(f16_to_float(stored)), stored);
  }
}

// Between each two neighbours: the middle goes to the even one, all else to the nearer one.
TEST(Half, RoundsToNearestTiesToEven) {
  for (int bits = 0; bits < 0x7bff; ++bits) {
    const auto low = static_cast<std::uint16_t>(bits);
    const auto high = static_cast<std::uint16_t>(bits + 1);
    const float middle = 0.5f * (f16_to_float(low) + f16_to_float(high));
    ASSERT_EQ(float_to_f16(middle), bits % 2 == 0 ? low : high) << bits;
    ASSERT_EQ(float_to_f16(std::nextafter(middle, 0.0f)), low) << bits;
    ASSERT_EQ(float_to_f16(std::nextafter(middle, kInfinity)), high) << bits;
    ASSERT_EQ(float_to_f16(-middle), (bits % 2 == 0 ? low : high) | 0x8000) << bits;
  }
}

TEST(Half, OverflowBecomesInfinity) {
  EXPECT_EQ(float_to_f16(65504.0f), 0x7bff);
  EXPECT_EQ(float_to_f16(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(float_to_f16(kInfinity), 0x7c00);
  EXPECT_EQ(f16_to_float(0xfc00), -kInfinity);
}

TEST(Half, SmallValuesBecomeSubnormalOrZeroWithTheirSign) {
  EXPECT_EQ(float_to_f16(std::ldexp(1.0f, -24)), 0x0001);
  EXPECT_EQ(float_to_f16(std::ldexp(1.0f, -25)), 0x0000);  // a tie: zero is even
  EXPECT_EQ(float_to_f16(std::ldexp(1.1f, -25)), 0x0001);
  EXPECT_EQ(float_to_f16(-1e-30f), 0x8000);
}

TEST(Half, NanStaysNan) {
  EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(std::nanf("")))));
  const auto payload_below_half = std::bit_cast<float>(0x7f800001u);
  EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(payload_below_half))));
}

TEST(Bfloat16, EveryValueIsTheUpperHalfOfItsFloatAndComesBackTheSame) {
  for (int bits = 0; bits < kAllValues; ++bits) {
    const auto stored = static_cast<std::uint16_t>(bits);
    const float value = bf16_to_float(stored);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(value), static_cast<std::uint32_t>(bits) << 16);
    ASSERT_EQ(float_to_bf16(value), stored);
  }
}

TEST(Bfloat16, RoundsToNearestTiesToEven) {
  for (std::uint32_t bits = 0; bits < 0x7f7f; ++bits) {
    const auto low = static_cast<std::uint16_t>(bits);
    const auto high = static_cast<std::uint16_t>(bits + 1);
    const auto middle = std::bit_cast<float>(bits << 16 | 0x8000u);
    ASSERT_EQ(float_to_bf16(middle), bits % 2 == 0 ? low : high) << bits;
    ASSERT_EQ(float_to_bf16(std::bit_cast<float>(bits << 16 | 0x7fffu)), low) << bits;
    ASSERT_EQ(float_to_bf16(std::bit_cast<float>(bits << 16 | 0x8001u)), high) << bits;
  }
}

TEST(Bfloat16, OverflowBecomesInfinityAndNanStaysNan) {
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(float_to_bf16(-std::numeric_limits<float>::max()), 0xff80);
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(0xffffffffu)))));
}

// All stored values as one run that begins at an odd address.
struct StoredRun {
  std::vector<std::byte> memory;
  std::vector<float> values;
  std::span<const std::byte> stored() const { return std::span(memory).subspan(1); }
};

StoredRun all_values_unaligned() {
  StoredRun run{std::vector<std::byte>(2 * kAllValues + 1), std::vector<float>(kAllValues)};
  for (int bits = 0; bits < kAllValues; ++bits) {
    const auto stored = static_cast<std::uint16_t>(bits);
    std::memcpy(run.memory.data() + 1 + 2 * bits, &stored, 2);
  }
  return run;
}

TEST(RunsOfHalf, AreConvertedLikeSingleValues) {
  StoredRun run = all_values_unaligned();
  EXPECT_FALSE(read_f16(run.stored(), run.values));  // infinities and NaN are among them
  for (int bits = 0; bits < kAllValues; ++bits) {
    const float single = f16_to_float(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(std::bit_cast<std::uint32_t>(run.values[static_cast<std::size_t>(bits)]),
              std::bit_cast<std::uint32_t>(single));
  }
}

TEST(RunsOfBfloat16, AreConvertedLikeSingleValues) {
  StoredRun run = all_values_unaligned();
  EXPECT_FALSE(read_bf16(run.stored(), run.values));
  for (int bits = 0; bits < kAllValues; ++bits) {
    const float single = bf16_to_float(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(std::bit_cast<std::uint32_t>(run.values[static_cast<std::size_t>(bits)]),
              std::bit_cast<std::uint32_t>(single));
  }
}

TEST(RunsOfFloats, OneNonFiniteValueAnywhereIsSeen) {
  for (const float bad : {kInfinity, -kInfinity, std::nanf("")}) {
    for (std::size_t at = 0; at < 37; ++at) {
      std::vector<float> stored(37, 1.5f), values(37);
      EXPECT_TRUE(read_f32(std::as_bytes(std::span(stored)), values));
      EXPECT_EQ(values, stored);
      stored[at] = bad;
      EXPECT_FALSE(read_f32(std::as_bytes(std::span(stored)), values)) << at;
    }
  }
}

TEST(RunsOfHalf, TheLargestFiniteValuesAreFinite) {
  const std::vector<std::uint16_t> halves{0x7bff, 0xfbff, 0x0001};
  const std::vector<std::uint16_t> brains{0x7f7f, 0xff7f, 0x0001};
  std::vector<float> values(3);
  EXPECT_TRUE(read_f16(std::as_bytes(std::span(halves)), values));
  EXPECT_TRUE(read_bf16(std::as_bytes(std::span(brains)), values));
}

}  // namespace
}  // namespace lowbit
