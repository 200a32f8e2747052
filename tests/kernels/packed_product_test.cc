// Every instruction set of this processor against the reference product of the format.
#include "kernels/packed_product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "base/half_float.h"
#include "kernels/random_product.h"

namespace lowbit {
namespace {

std::vector<Isa> kernels_here() {
  std::vector<Isa> isas = supported_isas();
  isas.erase(isas.begin());  // the reference
  return isas;
}

void expect_equal_to_reference(const Shape& shape, int bits, const ActivationScheme& scheme,
                               bool symmetric, float center) {
  const GroupAffineWeight weight = random_weight(shape, bits, symmetric, DType::f16);
  const std::vector<float> x = random_input(shape, center);
  std::vector<float> expected(static_cast<std::size_t>(shape.tokens * shape.out));
  reference_product(quantize_activations(x, shape.in, scheme), weight, expected);
  const auto packed = arrange(weight, scheme.whole_token() ? 0 : scheme.group_size);
  ASSERT_TRUE(packed);
  const PackedActivations codes = pack_activations(x, shape.in, packed->group_size, scheme);
  for (const Isa isa : kernels_here()) {
    SCOPED_TRACE(std::string(name_of(isa)));
    std::vector<float> found(expected.size(), -1.0F);
    packed_product(isa, codes, *packed, found);
    expect_same_bits(found, expected);
  }
}

class PackedProduct : public ::testing::TestWithParam<int> {};  // bits of the weight

TEST_P(PackedProduct, EqualsTheReferenceOnAllShapes) {
  for (const Shape& shape :
       {Shape{16, 32, 32, 1}, Shape{1, 64, 32, 2}, Shape{17, 96, 96, 3}, Shape{48, 256, 128, 4},
        Shape{33, 512, 256, 5}, Shape{40, 96, 32, 13}, Shape{64, 384, 96, 17},
        // More than one block of tokens, of panels and of inputs; whole tiles and what is left.
        Shape{40, 1280, 128, 295}, Shape{33, 640, 64, 48}, Shape{32, 768, 768, 32}}) {
    SCOPED_TRACE(::testing::Message() << shape.out << " x " << shape.in << ", group "
                                      << shape.group_size << ", tokens " << shape.tokens);
    for (const int activation_bits : {3, 4, 8}) {
      for (const bool per_token : {false, true}) {
        for (const bool symmetric : {false, true}) {
          expect_equal_to_reference(shape, GetParam(),
                                    activations(activation_bits, per_token, shape, symmetric),
                                    symmetric, 0.0F);
        }
      }
    }
  }
}

// 16 inputs are no whole chunk of 3 bits.
TEST_P(PackedProduct, EqualsTheReferenceWhereActivationsHaveSmallerGroups) {
  for (const Shape& shape : {Shape{33, 256, 128, 2}, Shape{40, 192, 192, 13}}) {
    for (const std::int64_t group : {16, 32, 64}) {
      ActivationScheme scheme = activations(4, false, shape, false);
      scheme.group_size = group;
      SCOPED_TRACE(group);
      for (const bool symmetric : {false, true}) {
        expect_equal_to_reference(shape, GetParam(), scheme, symmetric, 0.5F);
      }
    }
  }
}

TEST_P(PackedProduct, EqualsTheReferenceFarFromZero) {
  const Shape shape{24, 128, 64, 6};
  for (const float center : {-50.0F, 3.0F, 700.0F, 1e30F}) {
    for (const int activation_bits : {3, 4, 8}) {
      for (const double clip : {1.0, 0.8}) {
        ActivationScheme scheme = activations(activation_bits, false, shape, false);
        scheme.clip = clip;
        expect_equal_to_reference(shape, GetParam(), scheme, false, center);
      }
    }
  }
}

TEST_P(PackedProduct, CarriesNonFiniteInputsIntoTheResult) {
  const Shape shape{16, 64, 32, 2};
  const GroupAffineWeight weight = random_weight(shape, GetParam(), false, DType::bf16);
  const auto packed = arrange(weight);
  ASSERT_TRUE(packed);
  std::vector<float> x = random_input(shape, 0.0F);
  x[5] = std::numeric_limits<float>::infinity();
  const ActivationScheme scheme = activations(4, false, shape, false);
  for (const Isa isa : kernels_here()) {
    std::vector<float> y(32);
    packed_product(isa, pack_activations(x, shape.in, shape.group_size, scheme), *packed, y);
    EXPECT_TRUE(std::isnan(y[0])) << name_of(isa);
    EXPECT_TRUE(std::isfinite(y[16])) << name_of(isa);
  }
}

// Codes and scales are those of quantize_activations; no code is beyond `largest`.
void expect_reference_codes(const std::vector<float>& x, const Shape& shape,
                            const ActivationScheme& scheme) {
  const QuantizedActivations expected = quantize_activations(x, shape.in, scheme);
  const PackedActivations found = pack_activations(x, shape.in, shape.group_size, scheme);
  const auto group = static_cast<std::size_t>(shape.group_size);
  for (std::size_t entry = 0; entry < found.scales.size(); ++entry) {
    const std::size_t first = entry * group;
    const float scale = expected.scales[first / static_cast<std::size_t>(expected.group_size)];
    ASSERT_EQ(found.scales[entry], scale) << "group " << entry;
    std::int32_t sum = 0;
    for (std::size_t i = first; i < first + group; ++i) {
      ASSERT_EQ(found.codes[i] + found.offsets[entry], expected.centered[i]) << "value " << x[i];
      ASSERT_LE(std::abs(int{found.codes[i]}), found.largest);
      sum += found.codes[i];
    }
    ASSERT_EQ(found.sums[entry], sum) << "group " << entry;
  }
}

// A row for each kind: random, with an outlier, of one sign, constant, zero, tiny, huge.
std::vector<float> extreme_input(const Shape& shape) {
  std::vector<float> x = random_input(shape, 0.0F);
  constexpr float kHuge = std::numeric_limits<float>::max();
  const auto set_row = [&](std::int64_t row, const auto& value_of) {
    for (std::int64_t i = row * shape.in; i < (row + 1) * shape.in; ++i) {
      x[static_cast<std::size_t>(i)] = value_of(x[static_cast<std::size_t>(i)], i);
    }
  };
  set_row(1, [](float value, auto i) { return i % 32 == 5 ? -400.0F : value; });
  set_row(2, [](float value, auto) { return 20.0F + value; });
  set_row(3, [](float value, auto) { return std::abs(value); });
  set_row(4, [](float, auto) { return -3.0F; });
  set_row(5, [](float, auto) { return 0.0F; });
  set_row(6, [](float value, auto) { return value * 1e-40F; });
  set_row(7, [](float value, auto) { return std::copysign(kHuge, value); });
  set_row(8, [](float value, auto) { return 1e6F + value; });
  return x;
}

TEST(PackActivations, GivesTheReferencesCodesForEveryWidthAndClip) {
  const Shape shape{0, 96, 32, 12};
  const std::vector<float> x = extreme_input(shape);
  for (int bits = 2; bits <= 8; ++bits) {
    for (const double clip : {1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.25, 1e-3, 1e-30}) {
      for (const bool per_token : {false, true}) {
        for (const bool symmetric : {false, true}) {
          ActivationScheme scheme = activations(bits, per_token, shape, symmetric);
          scheme.clip = clip;
          SCOPED_TRACE(describe(scheme));
          expect_reference_codes(x, shape, scheme);
        }
      }
    }
  }
}

TEST(PackActivations, GivesTheReferencesCodesOfStaticScales) {
  const Shape shape{0, 96, 32, 12};
  const std::vector<float> x = extreme_input(shape);
  for (int bits = 2; bits <= 8; ++bits) {
    for (const float scale : {1e-5F, 0.0123F, 1.0F, 1e4F}) {
      SCOPED_TRACE(::testing::Message() << bits << " bits, scale " << scale);
      expect_reference_codes(x, shape,
                             {.bits = bits,
                              .per = ActivationGranularity::tensor,
                              .group_size = 0,
                              .symmetric = true,
                              .scale = scale});
    }
  }
}

// Of float activations, with `decoded`, [out, in].
void expect_float_products(const Shape& shape, const PackedWeight& packed,
                           const std::vector<float>& decoded) {
  const std::vector<float> x = random_input(shape, 0.5F);
  for (const Isa isa : kernels_here()) {
    std::vector<float> y(static_cast<std::size_t>(shape.tokens * shape.out));
    packed_product(isa, x, packed, y);
    for (std::int64_t t = 0; t < shape.tokens; ++t) {
      for (std::int64_t o = 0; o < shape.out; ++o) {
        double sum = 0, size = 0;
        for (std::int64_t i = 0; i < shape.in; ++i) {
          const double product = double{x[static_cast<std::size_t>(t * shape.in + i)]} *
                                 decoded[static_cast<std::size_t>(o * shape.in + i)];
          sum += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(y[static_cast<std::size_t>(t * shape.out + o)], sum, 2e-6 * size)
            << name_of(isa) << ", token " << t << ", row " << o;
      }
    }
  }
}

TEST_P(PackedProduct, OfFloatsIsThatOfTheDecodedWeight) {
  for (const DType scale_type : {DType::f16, DType::bf16, DType::f32}) {
    for (const Shape& shape : {Shape{17, 96, 32, 1}, Shape{80, 256, 128, 3}, Shape{70, 512, 512, 9},
                               Shape{16, 672, 672, 6}, Shape{20, 480, 96, 5}}) {
      const GroupAffineWeight weight = random_weight(shape, GetParam(), false, scale_type);
      const auto packed = arrange(weight);
      ASSERT_TRUE(packed);
      expect_float_products(shape, *packed, weight.dequantize());
    }
  }
}

TEST_P(PackedProduct, OfFloatsCarriesWhatIsNotFinite) {
  const Shape shape{16, 64, 32, 2};
  const auto packed = arrange(random_weight(shape, GetParam(), false, DType::bf16));
  ASSERT_TRUE(packed);
  for (const float value : {std::numeric_limits<float>::infinity(), -std::nanf("")}) {
    std::vector<float> x = random_input(shape, 0.0F);
    x[5] = value;
    for (const Isa isa : kernels_here()) {
      std::vector<float> y(32);
      packed_product(isa, x, *packed, y);
      EXPECT_FALSE(std::isfinite(y[0])) << name_of(isa);
      EXPECT_TRUE(std::isfinite(y[16])) << name_of(isa);
    }
  }
}

TEST(SplitActivations, AreTheFloatsToTwentyFourBits) {
  for (const float factor : {1.0F, 1e-30F, 1e30F, 0.0F}) {
    const Shape shape{0, 120, 40, 3};
    std::vector<float> x = random_input(shape, 0.0F);
    for (float& value : x) value *= factor;
    x[7] *= 1000.0F;  // alone in its group
    const PackedActivations split = split_activations(x, shape.in, shape.group_size);
    ASSERT_EQ(split.tokens, 3 * shape.tokens);
    for (std::int64_t i = 0; i < std::ssize(x); ++i) {
      const std::int64_t first = i / 40 * 40;
      double largest = 0, value = 0;
      for (std::int64_t k = first; k < first + 40; ++k) {
        largest = std::max(largest, std::abs(double{x[static_cast<std::size_t>(k)]}));
      }
      for (std::int64_t part = 0; part < 3; ++part) {
        const std::int64_t row = i / shape.in * 3 + part;
        value += double{split.scales[static_cast<std::size_t>(row * 3 + i % shape.in / 40)]} *
                 split.codes[static_cast<std::size_t>(row * shape.in + i % shape.in)];
      }
      ASSERT_NEAR(value, x[static_cast<std::size_t>(i)], 0x1.4p-23 * largest) << "element " << i;
    }
  }
}

TEST_P(PackedProduct, OfSeveralWeightsIsThatOfEach) {
  for (const std::int64_t tokens : {1, 7}) {
    const Shape shape{40, 96, 32, tokens};
    std::vector<PackedWeight> weights;
    for (const std::int64_t out : {40, 1, 300, 16}) {
      weights.push_back(*arrange(random_weight({out, 96, 32, 1}, GetParam(), false, DType::f16)));
    }
    const std::vector<float> x = random_input(shape, 0.0F);
    const PackedActivations codes =
        pack_activations(x, shape.in, shape.group_size, activations(8, false, shape, false));
    for (const Isa isa : kernels_here()) {
      SCOPED_TRACE(std::string(name_of(isa)));
      const auto expect_equal = [&](const auto& input) {
        std::vector<std::vector<float>> found, expected;
        std::vector<Product> products;
        for (const PackedWeight& weight : weights) {
          expected.emplace_back(static_cast<std::size_t>(tokens * weight.out));
          packed_product(isa, input, weight, expected.back());
          found.emplace_back(expected.back().size());
        }
        for (std::size_t i = 0; i < weights.size(); ++i) {
          products.push_back({&weights[i], found[i]});
        }
        packed_product(isa, input, products);
        for (std::size_t i = 0; i < weights.size(); ++i) expect_same_bits(found[i], expected[i]);
      };
      expect_equal(codes);
      expect_equal(std::span<const float>(x));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, PackedProduct, ::testing::Values(2, 3, 4, 5, 8));

TEST(HalfWeight, HasTheProductsOfItsValues) {
  for (const DType type : {DType::bf16, DType::f16}) {
    for (const Shape& shape : {Shape{16, 32, 0, 1}, Shape{1, 5, 0, 2}, Shape{37, 259, 0, 3},
                               Shape{70, 130, 0, 4}, Shape{65, 515, 0, 9}}) {
      std::vector<float> values = random_input({1, shape.in, 0, shape.out}, 0.0F);
      std::vector<std::byte> stored(1 + 2 * values.size());  // at an odd address
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::uint16_t bits =
            type == DType::bf16 ? float_to_bf16(values[i]) : float_to_f16(values[i]);
        std::memcpy(stored.data() + 1 + 2 * i, &bits, 2);
        values[i] = type == DType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
      }
      const PackedWeight packed = arrange(std::span(stored).subspan(1), shape.out, shape.in, type);
      EXPECT_EQ(std::ssize(packed.codes), (shape.out + 15) / 16 * 16 * shape.in * 2);
      expect_float_products(shape, packed, values);
    }
  }
}

TEST(Arrange, KeepsTheWidthOfTheCodes) {
  for (const int bits : {2, 3, 4, 8}) {
    const auto packed = arrange(random_weight({32, 256, 128, 1}, bits, false, DType::f16));
    ASSERT_TRUE(packed);
    EXPECT_EQ(std::ssize(packed->codes), 32 * 256 * bits / 8);
  }
}

// The streams as a file has them, from an odd address on.
struct Stored {
  std::vector<std::byte> words, scales;
  StoredGroupAffine view;

  Stored(const GroupAffineWeight& weight, bool dense) : words(1), scales(1) {
    const auto append = [](std::vector<std::byte>& to, const auto& values) {
      const auto bytes = std::as_bytes(std::span(values));
      to.insert(to.end(), bytes.begin(), bytes.end());
    };
    append(words, dense ? pack_rows(weight.codes, weight.out, weight.in, weight.bits)
                        : pack_whole_codes(weight));
    append(scales, pack(weight).weight_scale);
    view = {.out = weight.out,
            .in = weight.in,
            .group_size = weight.group_size,
            .bits = weight.bits,
            .symmetric = weight.symmetric,
            .scale_type = weight.scale_type,
            .dense = dense,
            .words = std::span(words).subspan(1),
            .scales = std::span(scales).subspan(1),
            .zeros = weight.zeros};
  }

  static std::vector<std::int32_t> pack_whole_codes(const GroupAffineWeight& weight) {
    const std::int64_t per_word = 32 / weight.bits;
    const std::int64_t row_words = words_per_row_whole_codes(weight.in, weight.bits);
    std::vector<std::int32_t> words(static_cast<std::size_t>(weight.out * row_words));
    for (std::int64_t i = 0; i < weight.out * weight.in; ++i) {
      const std::int64_t column = i % weight.in;
      const auto code = std::uint32_t{weight.codes[static_cast<std::size_t>(i)]}
                        << (column % per_word * weight.bits);
      auto& word = words[static_cast<std::size_t>(i / weight.in * row_words + column / per_word)];
      word = static_cast<std::int32_t>(static_cast<std::uint32_t>(word) | code);
    }
    return words;
  }
};

TEST(Arrange, OfStoredWordsIsThatOfTheirCodes) {
  for (const int bits : {2, 3, 4, 5, 6, 7, 8}) {
    for (const DType scale_type : {DType::f16, DType::bf16, DType::f32}) {
      for (const Shape& shape :
           {Shape{16, 32, 32, 1}, Shape{1, 96, 96, 1}, Shape{35, 192, 64, 1}, Shape{17, 48, 12, 1},
            Shape{50, 256, 256, 1}, Shape{18, 1056, 96, 1}}) {
        const GroupAffineWeight weight = random_weight(shape, bits, false, scale_type);
        for (const auto& [dense, group] : {std::pair{true, 0L},
                                           {false, 0L},
                                           {true, 4L},
                                           {true, std::gcd(shape.group_size, 32L)}}) {
          const auto expected = arrange(weight, group);
          ASSERT_TRUE(expected);
          const auto found = arrange(Stored(weight, dense).view, group);
          ASSERT_TRUE(found);
          SCOPED_TRACE(::testing::Message() << bits << " bits, " << shape.out << " x " << shape.in);
          EXPECT_EQ(found->bits, expected->bits);
          EXPECT_EQ(found->group_size, expected->group_size);
          EXPECT_EQ(found->scale_type, expected->scale_type);
          ASSERT_EQ(found->scales, expected->scales);
          ASSERT_EQ(found->zeros, expected->zeros);
          ASSERT_EQ(found->codes, expected->codes);
        }
      }
    }
  }
}

TEST(Arrange, LeavesGroupsOfOddSizeToTheReference) {
  EXPECT_FALSE(arrange(random_weight({4, 18, 6, 1}, 4, false, DType::f16)));
  EXPECT_TRUE(arrange(random_weight({4, 24, 12, 1}, 4, false, DType::f16)));  // as 8 bits
}

TEST(AlignedVector, IsAlignedAtAllSizes) {
  for (const std::size_t bytes : {1U, 100U, 1U << 20, 4U << 20, (5U << 20) + 3}) {
    AlignedVector<std::uint8_t> vector(bytes, 7);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(vector.data()) % 64, 0U);
    EXPECT_EQ(vector.back(), 7);
    const AlignedVector<std::uint8_t> copy = vector;
    vector.resize(2 * bytes);
    EXPECT_TRUE(std::equal(copy.begin(), copy.end(), vector.begin()));
  }
}

TEST(ChosenIsa, IsTheFastestOrWhatTheEnvironmentNames) {
  unsetenv("LOWBIT_ISA");
  EXPECT_EQ(*chosen_isa(), supported_isas().back());
  setenv("LOWBIT_ISA", "portable", 1);
  EXPECT_EQ(*chosen_isa(), Isa::portable);
  setenv("LOWBIT_ISA", "mmx", 1);
  const Result<Isa> unknown = chosen_isa();
  unsetenv("LOWBIT_ISA");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, "kernels/unknown-isa");
}

}  // namespace
}  // namespace lowbit
