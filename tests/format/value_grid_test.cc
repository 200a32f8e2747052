// The element formats code by code, their rounding, and what blocks of Gaussian values lose in
// each.
#include "format/value_grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "format/group_affine.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<const ValueGrid*> grids() { return {&e2m1_grid(), &e4m3_grid(), &nf4_grid()}; }

TEST(ValueGrid, HasTheValuesOfE2M1) {
  const auto values = e2m1_grid().by_code();
  EXPECT_THAT(values.first(8), ElementsAre(0, .5F, 1, 1.5F, 2, 3, 4, 6));
  EXPECT_THAT(values.last(8), ElementsAre(-0.0F, -.5F, -1, -1.5F, -2, -3, -4, -6));
}

TEST(ValueGrid, HasTheValuesOfE4M3) {
  const ValueGrid& grid = e4m3_grid();
  for (int code = 0; code < 256; ++code) {
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const float magnitude = exponent == 0
                                ? std::ldexp(static_cast<float>(mantissa), -9)
                                : std::ldexp(1.0F + static_cast<float>(mantissa) / 8, exponent - 7);
    const float value = grid.value(static_cast<std::uint8_t>(code));
    if ((code & 127) == 127) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(value, code < 128 ? magnitude : -magnitude) << code;
    }
  }
  EXPECT_EQ(grid.largest(), 448);
  EXPECT_EQ(grid.value(1), 0x1p-9F);
}

// But for negative zero, which takes the code of zero.
TEST(ValueGrid, DecodingAndEncodingIsNothing) {
  for (const ValueGrid* grid : grids()) {
    for (std::size_t code = 0; code < grid->by_code().size(); ++code) {
      const float value = grid->by_code()[code];
      if (std::isnan(value)) continue;
      EXPECT_EQ(grid->nearest(value), value);
      if (value == 0) continue;
      EXPECT_EQ(grid->code(value), code);
    }
    EXPECT_EQ(grid->code(-0.0F), grid->code(0.0F));
    EXPECT_FALSE(std::signbit(grid->nearest(-0.0F)));
  }
}

TEST(ValueGrid, TakesTheNearerNeighbourAndNeverFalls) {
  for (const ValueGrid* grid : grids()) {
    const auto values = grid->values();
    for (std::size_t i = 0; i + 1 < values.size(); ++i) {
      ASSERT_LT(values[i], values[i + 1]);
      const float middle = (values[i] + values[i + 1]) / 2;
      EXPECT_EQ(grid->nearest(std::nextafter(middle, -kInfinity)), values[i]);
      EXPECT_EQ(grid->nearest(std::nextafter(middle, kInfinity)), values[i + 1]);
    }
  }
}

TEST(ValueGrid, TiesOfFloatsGoToTheEvenCode) {
  constexpr std::pair<float, float> kTies[] = {{.25F, 0}, {.75F, 1}, {1.25F, 1}, {1.75F, 2},
                                               {2.5F, 2}, {3.5F, 4}, {5, 4}};
  for (const auto& [between, even] : kTies) {
    EXPECT_EQ(e2m1_grid().nearest(between), even) << between;
    EXPECT_EQ(e2m1_grid().nearest(-between), -even) << between;
  }
  const ValueGrid& e4m3 = e4m3_grid();
  for (std::uint8_t code = 0; code < 0x7E; ++code) {
    const auto even = static_cast<std::uint8_t>(code + code % 2);
    const float middle = (e4m3.value(code) + e4m3.value(static_cast<std::uint8_t>(code + 1))) / 2;
    EXPECT_EQ(e4m3.nearest(middle), e4m3.value(even)) << int{code};
    EXPECT_EQ(e4m3.nearest(-middle), -e4m3.value(even)) << int{code};
  }
}

TEST(ValueGrid, SaturatesBeyondItsEnds) {
  for (const ValueGrid* grid : grids()) {
    EXPECT_EQ(grid->nearest(1e30F), grid->largest());
    EXPECT_EQ(grid->nearest(-kInfinity), -grid->largest());
  }
}

TEST(Scale, IsOnTheGridOfItsTypeAndNeverZeroOrInfinite) {
  EXPECT_EQ(storable_scale(DType::f8_e4m3, 1.06F), 1.0F);
  EXPECT_EQ(storable_scale(DType::f8_e4m3, 1.07F), 1.125F);
  EXPECT_EQ(storable_scale(DType::f8_e4m3, 0), 0x1p-9F);
  EXPECT_EQ(storable_scale(DType::f8_e4m3, 1e9F), 448);
  EXPECT_EQ(storable_scale(DType::u8, 1.49F), 1);
  EXPECT_EQ(storable_scale(DType::u8, 1.5F), 2);
  EXPECT_EQ(storable_scale(DType::u8, .7F), .5F);
  EXPECT_EQ(storable_scale(DType::u8, 0), 0x1p-126F);
  EXPECT_EQ(storable_scale(DType::u8, kInfinity), 0x1p127F);
}

TEST(Scale, EveryStoredByteIsReadAsItsValueAndWrittenAsItself) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::vector<std::byte> stored = {static_cast<std::byte>(byte)};
    const float power = load_scales(stored, DType::u8).front();
    if (byte == 255) {
      EXPECT_TRUE(std::isnan(power));
    } else {
      EXPECT_EQ(power, std::ldexp(1.0F, byte - 127));
      // 2^-127 is no normal float32: it is read and never written.
      if (byte > 0) {
        EXPECT_EQ(store_scales(std::vector{power}, DType::u8), stored);
      }
    }
    const float e4m3 = load_scales(stored, DType::f8_e4m3).front();
    if (byte > 0 && byte < 127) {
      EXPECT_EQ(store_scales(std::vector{e4m3}, DType::f8_e4m3), stored);
    }
  }
}

TEST(Scale, OfATensorWithAGlobalScaleComesBackTheSame) {
  const ScaleGrid grid(DType::f8_e4m3, 448 * 6 / .731F);
  for (std::uint8_t code = 1; code < 127; ++code) {
    const std::vector<std::byte> stored = {static_cast<std::byte>(code)};
    const std::vector<float> scale = load_scales(stored, grid);
    EXPECT_EQ(grid.nearest(scale.front()), scale.front());
    EXPECT_EQ(store_scales(scale, grid), stored);
  }
}

std::vector<float> gaussian(std::size_t count) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

float reach_of(std::span<const float> block) {
  float reach = 0;
  for (const float value : block) reach = std::max(reach, std::abs(value));
  return reach;
}

double squared_error(std::span<const float> block, const ValueGrid& grid, float scale) {
  double sum = 0;
  for (const float value : block) sum += std::pow(grid.nearest(value / scale) * scale - value, 2);
  return sum;
}

// Mean squared error of blocks whose scale is a function of their largest magnitude.
template <typename Scale>
double mean_error(std::span<const float> values, const ValueGrid& grid, std::size_t block,
                  Scale scale) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); i += block) {
    const auto part = values.subspan(i, block);
    sum += squared_error(part, grid, scale(reach_of(part)));
  }
  return sum / static_cast<double>(values.size());
}

// The float-formats sheet's measured numbers (4 M samples there).
TEST(ValueFormats, LoseOfGaussianValuesWhatIsPublished) {
  const std::vector<float> values = gaussian(std::size_t{1} << 20);
  const auto floor_power = [](float reach) {
    return std::ldexp(1.0F, static_cast<int>(std::ilogb(reach)) - 2);
  };
  const auto rounded_power = [&](float reach) {
    const float low = floor_power(reach);
    return reach / low >= 7 ? 2 * low : low;
  };
  const auto ceiling_power = [&](float reach) {
    const float low = floor_power(reach);
    return reach / low > 6 ? 2 * low : low;
  };
  const auto mxfp4 = [&](auto scale) { return mean_error(values, e2m1_grid(), 32, scale); };
  EXPECT_NEAR(mxfp4(floor_power), .01322, 1e-4);
  EXPECT_NEAR(mxfp4(rounded_power), .01251, 1e-4);
  EXPECT_NEAR(mxfp4(ceiling_power), .01333, 1e-4);
  EXPECT_NEAR(mxfp4([&](float reach) { return floor_power(reach) * 4 / 3; }), .01385, 1e-4);
  EXPECT_NEAR(mean_error(values, nf4_grid(), 64, [](float reach) { return reach; }), .00846, 1e-4);

  const ScaleGrid scales(DType::f8_e4m3, global_scale_of(WeightFormat::nvfp4, reach_of(values)));
  const auto to_six = [&](float reach) { return scales.nearest(reach / 6); };
  EXPECT_NEAR(mean_error(values, e2m1_grid(), 16, to_six), .00904, 1e-4);
  double four_or_six = 0;
  for (std::size_t i = 0; i < values.size(); i += 16) {
    const auto block = std::span(values).subspan(i, 16);
    const float reach = reach_of(block);
    four_or_six += std::min(squared_error(block, e2m1_grid(), to_six(reach)),
                            squared_error(block, e2m1_grid(), scales.nearest(reach / 4)));
  }
  EXPECT_NEAR(four_or_six / static_cast<double>(values.size()), .00756, 1e-4);
}

GroupAffineWeight nvfp4_row(const std::vector<float>& values) {
  const WeightScheme& scheme = value_format(WeightFormat::nvfp4)->scheme;
  std::vector<float> scales;
  for (std::size_t i = 0; i < values.size(); i += 16) {
    scales.push_back(reach_of(std::span(values).subspan(i, 16)) / 6);
  }
  return quantize_group_affine(
      values, 1, std::ssize(values), scheme, scales, {},
      {DType::f8_e4m3, global_scale_of(WeightFormat::nvfp4, reach_of(values))});
}

TEST(Nvfp4, TheBlockOfTheLargestValueHasTheLargestScale) {
  const std::vector<float> values = gaussian(4096);
  const GroupAffineWeight weight = nvfp4_row(values);
  const std::size_t largest = static_cast<std::size_t>(
      std::max_element(values.begin(), values.end(),
                       [](float a, float b) { return std::abs(a) < std::abs(b); }) -
      values.begin());
  const std::vector<std::byte> stored = pack(weight).weight_scale;
  EXPECT_EQ(load_scales(stored, DType::f8_e4m3)[largest / 16], 448);
  EXPECT_NEAR(448 * 6 / weight.global_scale, std::abs(values[largest]), 1e-6);
}

TEST(Nvfp4, ScaledValuesHaveTheSameCodesAndScales) {
  std::vector<float> values = gaussian(4096);
  const GroupAffineWeight weight = nvfp4_row(values);
  for (float& value : values) value *= 0x1p-13F;
  const GroupAffineWeight scaled = nvfp4_row(values);
  EXPECT_EQ(scaled.codes, weight.codes);
  EXPECT_EQ(pack(scaled).weight_scale, pack(weight).weight_scale);
}

TEST(Nvfp4, IsPackedWithTheEvenColumnInTheLowNibble) {
  const std::vector<float> values = {.5F, -6, 1.5F, 0, -.5F, 4, 2, -3, 0, 0, 0, 0, 0, 0, 0, 0};
  GroupAffineWeight weight = nvfp4_row(values);
  weight.scales = {1};
  const auto words = pack(weight).weight_packed;
  const auto bytes = std::as_bytes(std::span(words));
  EXPECT_THAT(bytes.first(4),
              ElementsAre(std::byte{0xF1}, std::byte{0x03}, std::byte{0x69}, std::byte{0xD4}));
  weight.codes = {1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};  // the byte 0x21
  EXPECT_EQ(pack(weight).weight_packed[0], 0x21);
  EXPECT_EQ(weight.dequantize()[0], .5F);
  EXPECT_EQ(weight.dequantize()[1], 1);
}

TEST(ValueFormats, TakeAsManyBitsAsTheyStore) {
  const auto bits = [](WeightFormat format) {
    const WeightScheme& scheme = value_format(format)->scheme;
    return static_cast<double>(stored_bits(scheme, 256, 512, scale_type_of(format, {}))) /
           (256 * 512);
  };
  EXPECT_DOUBLE_EQ(bits(WeightFormat::nvfp4), 4.5 + 32.0 / (256 * 512));
  EXPECT_DOUBLE_EQ(bits(WeightFormat::mxfp4), 4.25);
  EXPECT_DOUBLE_EQ(bits(WeightFormat::nf4), 4.25);
  EXPECT_DOUBLE_EQ(bits(WeightFormat::fp8), 8 + 32.0 / 512);
}

TEST(ValueFormats, DescribeThemselves) {
  EXPECT_EQ(describe(value_format(WeightFormat::nvfp4)->scheme), "nvfp4");
  EXPECT_EQ(describe(value_format(WeightFormat::fp8)->scheme), "fp8");
}

}  // namespace
}  // namespace lowbit
