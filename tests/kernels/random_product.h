// Random weights and activations, and how results are compared, for the tests of products.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "format/group_affine.h"

namespace lowbit {

struct Shape {
  std::int64_t out, in, group_size, tokens;
};

inline GroupAffineWeight random_weight(const Shape& shape, int bits, bool symmetric,
                                       DType scale_type) {
  std::mt19937 random(static_cast<unsigned>(shape.out * 31 + shape.in + bits));
  GroupAffineWeight weight{.out = shape.out,
                           .in = shape.in,
                           .bits = bits,
                           .group_size = shape.group_size,
                           .symmetric = symmetric,
                           .scale_type = scale_type,
                           .codes = {},
                           .scales = {},
                           .zeros = {}};
  const unsigned codes = 1U << bits;
  for (std::int64_t i = 0; i < shape.out * shape.in; ++i) {
    weight.codes.push_back(static_cast<std::uint8_t>(random() % codes));
  }
  for (std::int64_t i = 0; i < shape.out * weight.groups(); ++i) {
    weight.scales.push_back(static_cast<float>(1 + random() % 255) /
                            4096.0F);  // exact in all types
    weight.zeros.push_back(static_cast<std::uint8_t>(symmetric ? codes / 2 : random() % codes));
  }
  return weight;
}

// Values around `center` with a spread of 1, so that far centers give far zero points.
inline std::vector<float> random_input(const Shape& shape, float center) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(shape.tokens * shape.in));
  for (float& value : x) value = center + normal(random);
  return x;
}

inline ActivationScheme activations(int bits, bool per_token, const Shape& shape, bool symmetric) {
  return {.bits = bits,
          .per = per_token ? ActivationGranularity::token : ActivationGranularity::token_group,
          .group_size = per_token ? 0 : shape.group_size,
          .symmetric = symmetric};
}

inline void expect_same_bits(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(found[i])) << "element " << i;
    } else {
      ASSERT_EQ(found[i], expected[i]) << "element " << i;
    }
  }
}

}  // namespace lowbit
