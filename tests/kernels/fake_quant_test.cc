// Inputs in value formats against the formats' tables and rules. (Weights and integer inputs are
// tested against tensor operations: tests/calib.)
#include "kernels/fake_quant.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "format/value_grid.h"

namespace lowbit {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<const ValueFormat*> input_formats() {
  std::vector<const ValueFormat*> formats;
  for (const ValueFormat& format : value_formats()) {
    if (format.for_inputs) formats.push_back(&format);
  }
  return formats;
}

std::vector<float> quantized(const ValueFormat& format, const std::vector<float>& x,
                             std::int64_t group_size, float global_scale = 1) {
  ActivationScheme scheme = input_scheme(format);
  if (scheme.stores_scale()) scheme.scale = global_scale;
  std::vector<float> out(x.size());
  fake_quant_activation(scheme, group_size, 0, std::ssize(x) / group_size, x.data(), out.data());
  return out;
}

TEST(InputScale, OfFp8MakesTheLargestMagnitudeTheLargestValue) {
  const ValueFormat& fp8 = *value_format(WeightFormat::fp8);
  EXPECT_EQ(input_scale(fp8, 448, 1), 1);
  EXPECT_EQ(input_scale(fp8, 1, 1), 1.0F / 448);
}

TEST(InputScale, OfMxfp4GoesUpFromAMantissaOfSevenEighths) {
  const ValueFormat& mxfp4 = *value_format(WeightFormat::mxfp4);
  for (int exponent = -100; exponent <= 100; ++exponent) {
    const auto scale = [&](float largest) {
      return input_scale(mxfp4, std::ldexp(largest, exponent), 1);
    };
    const float one = std::ldexp(1.0F, exponent);
    EXPECT_EQ(scale(4), one);
    EXPECT_EQ(scale(6), one);
    EXPECT_EQ(scale(std::nextafter(7.0F, 0.0F)), one);
    EXPECT_EQ(scale(7), 2 * one);
    EXPECT_EQ(scale(3.5F), one);
    EXPECT_EQ(scale(std::nextafter(3.5F, 0.0F)), one / 2);
  }
  EXPECT_EQ(input_scale(mxfp4, std::numeric_limits<float>::max(), 1), 0x1p126F);
}

TEST(InputScale, OfNvfp4IsE4M3UnderTheGlobalScale) {
  const ValueFormat& nvfp4 = *value_format(WeightFormat::nvfp4);
  const float global = global_scale_of(WeightFormat::nvfp4, 6);
  EXPECT_EQ(global, 448);
  EXPECT_EQ(input_scale(nvfp4, 6, global), 1);
  EXPECT_EQ(input_scale(nvfp4, 12, global), 1) << "more than the calibration's largest: clipped";
  EXPECT_EQ(input_scale(nvfp4, 6 * 1.06F, 1), 1);
  EXPECT_EQ(input_scale(nvfp4, 6 * 1.07F, 1), 1.125F);
  EXPECT_EQ(input_scale(nvfp4, 6 * 0x1p-10F, 1), 0) << "half of the smallest, to even";
  EXPECT_EQ(input_scale(nvfp4, 6 * 0x1.1p-10F, 1), 0x1p-9F);
}

TEST(InputScale, IsZeroOfNothingAndNaNOfWhatIsNotFinite) {
  for (const ValueFormat* format : input_formats()) {
    EXPECT_EQ(input_scale(*format, 0, 1), 0) << format->name;
    EXPECT_EQ(input_scale(*format, 0x1p-130F, 1), 0) << format->name;
    EXPECT_TRUE(std::isnan(input_scale(*format, kInfinity, 1))) << format->name;
    EXPECT_TRUE(std::isnan(input_scale(*format, kNan, 1))) << format->name;
  }
}

// Every value, every tie and their neighbours, in a group whose scale is 1.
TEST(InputFormats, TakeTheNearestValueOfTheTable) {
  for (const ValueFormat* format : input_formats()) {
    const ValueGrid& grid = format->grid();
    std::vector<float> x = {0.0F, -0.0F, 1e-30F};
    for (std::size_t i = 0; i + 1 < grid.values().size(); ++i) {
      const float middle = (grid.values()[i] + grid.values()[i + 1]) / 2;
      for (const float value : {grid.values()[i], middle}) {
        x.insert(x.end(), {value, std::nextafter(value, -kInfinity), std::nextafter(value, 1e9F)});
      }
    }
    std::erase_if(x, [&](float value) { return std::abs(value) > grid.largest(); });
    x.push_back(grid.largest());
    ASSERT_EQ(input_scale(*format, grid.largest(), 1), 1) << format->name;
    const std::vector<float> found = quantized(*format, x, std::ssize(x));
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(found[i], grid.nearest(x[i])) << format->name << " of " << x[i];
    }
  }
}

TEST(InputFormats, ClipWhatLiesBeyondTheLargestValue) {
  EXPECT_EQ(quantized(*value_format(WeightFormat::mxfp4), {6.9F, -6.9F}, 2),
            (std::vector<float>{6, -6}));
  EXPECT_EQ(quantized(*value_format(WeightFormat::nvfp4), {30, -30, 1}, 3, 448),
            (std::vector<float>{6, -6, 1}));
}

TEST(InputFormats, EqualTheTableOnManyGroups) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const ValueFormat* format : input_formats()) {
    constexpr std::int64_t kGroups = 64;
    const std::int64_t size = format->scheme.group_size > 0 ? format->scheme.group_size : 96;
    std::vector<float> x(static_cast<std::size_t>(kGroups * size));
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = normal(random) * std::exp(normal(random) * 2);
    }
    const float global = global_scale_of(format->format, 20);
    std::vector<float> expected;
    for (auto first = x.begin(); first != x.end(); first += size) {
      float largest = 0;
      std::for_each(first, first + size,
                    [&](float v) { largest = std::max(largest, std::abs(v)); });
      const float scale = input_scale(*format, largest, global);
      std::transform(first, first + size, std::back_inserter(expected),
                     [&](float v) { return format->grid().nearest(v / scale) * scale; });
    }
    EXPECT_EQ(quantized(*format, x, size, global), expected) << format->name;
  }
}

TEST(InputFormats, GroupsOfZerosStayAndGroupsThatAreNotFiniteShow) {
  for (const ValueFormat* format : input_formats()) {
    const std::vector<float> found =
        quantized(*format, {0, 0, 1, kInfinity, kNan, 1, 1, -kInfinity, 6, 1}, 2);
    EXPECT_EQ(found[0], 0);
    EXPECT_EQ(found[1], 0);
    for (std::size_t i = 2; i < 8; ++i) EXPECT_TRUE(std::isnan(found[i])) << format->name << i;
    EXPECT_EQ(found[8], 6) << format->name;
  }
}

}  // namespace
}  // namespace lowbit
