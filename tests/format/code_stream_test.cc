// Golden words: docs/formats/group-affine.md, "Worked examples".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "format/group_affine.h"

namespace lowbit {
namespace {

using testing::ElementsAreArray;

std::vector<std::int32_t> words(std::initializer_list<std::uint32_t> unsigned_words) {
  std::vector<std::int32_t> result;
  for (const std::uint32_t word : unsigned_words) result.push_back(static_cast<std::int32_t>(word));
  return result;
}

std::vector<std::uint8_t> random_codes(std::int64_t count, int bits, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(count));
  for (std::uint8_t& code : codes) {
    code = static_cast<std::uint8_t>(random() & ((1U << bits) - 1U));
  }
  return codes;
}

TEST(CodeStream, PacksFourBitsLowNibbleFirst) {
  const std::vector<std::uint8_t> codes = {0, 1, 8, 9, 15, 7, 11, 5};
  EXPECT_THAT(pack_rows(codes, 1, 8, 4), ElementsAreArray(words({0x5B7F9810})));
}

TEST(CodeStream, PacksEightBits) {
  const std::vector<std::uint8_t> codes = {129, 130};
  EXPECT_THAT(pack_rows(codes, 1, 2, 8), ElementsAreArray(words({0x00008281})));
}

TEST(CodeStream, PacksThreeBitsAcrossWords) {
  std::vector<std::uint8_t> codes;
  for (int i = 0; i < 32; ++i) codes.push_back(static_cast<std::uint8_t>(i % 8));
  EXPECT_THAT(pack_rows(codes, 1, 32, 3),
              ElementsAreArray(words({0x88FAC688, 0xC688FAC6, 0xFAC688FA})));
}

TEST(CodeStream, PacksConstantMiddleCodes) {
  EXPECT_THAT(pack_rows(std::vector<std::uint8_t>(16, 2), 1, 16, 2),
              ElementsAreArray(words({0xAAAAAAAA})));
  EXPECT_THAT(pack_rows(std::vector<std::uint8_t>(32, 4), 1, 32, 3),
              ElementsAreArray(words({0x24924924, 0x49249249, 0x92492492})));
  EXPECT_THAT(pack_rows(std::vector<std::uint8_t>(8, 8), 1, 8, 4),
              ElementsAreArray(words({0x88888888})));
  EXPECT_THAT(pack_rows(std::vector<std::uint8_t>(4, 128), 1, 4, 8),
              ElementsAreArray(words({0x80808080})));
}

TEST(CodeStream, PacksEightRowsOfTheWorkedLayer) {
  std::vector<std::uint8_t> codes;
  for (int o = 0; o < 8; ++o) {
    for (int i = 0; i < 8; ++i) codes.push_back(static_cast<std::uint8_t>((3 * o + 5 * i) % 16));
  }
  const std::vector<std::int32_t> expected =
      words({0x3E94FA50, 0x61C72D83, 0x94FA50B6, 0xC72D83E9, 0xFA50B61C, 0x2D83E94F, 0x50B61C72,
             0x83E94FA5});
  EXPECT_THAT(pack_rows(codes, 8, 8, 4), ElementsAreArray(expected));
}

TEST(CodeStream, UnpacksTheOlderStreamOfWholeCodes) {
  const std::vector<std::int32_t> stored = words({0x08FAC688, 0x1A23EB1A, 0x2C688FAC, 0x0000003E});
  const std::vector<std::uint8_t> codes = unpack_rows_whole_codes(stored, 1, 32, 3);
  ASSERT_EQ(codes.size(), 32U);
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(codes[i], i % 8) << i;
}

TEST(CodeStream, CountsWords) {
  EXPECT_EQ(words_per_row(4096, 3), 384);
  EXPECT_EQ(words_per_row_whole_codes(4096, 3), 410);
  EXPECT_EQ(words_per_row(11, 3), 2);
  EXPECT_EQ(words_per_row(1, 8), 1);
  EXPECT_EQ(words_per_row(0, 5), 0);
  EXPECT_EQ(words_per_row(std::int64_t{1} << 60, 8), std::int64_t{1} << 58);
}

TEST(CodeStream, IgnoresPaddingBits) {
  const std::vector<std::uint8_t> codes = {7, 0, 5};
  std::vector<std::int32_t> stored = pack_rows(codes, 1, 3, 3);
  stored[0] |= static_cast<std::int32_t>(0xFFFFFE00U);
  EXPECT_THAT(unpack_rows(stored, 1, 3, 3), ElementsAreArray(codes));
}

class EveryWidth : public testing::TestWithParam<int> {};

TEST_P(EveryWidth, ReturnsWhatWasPacked) {
  const int bits = GetParam();
  for (const std::int64_t columns : {1, 7, 31, 32, 33, 100, 256}) {
    const std::vector<std::uint8_t> codes = random_codes(5 * columns, bits, 7);
    const std::vector<std::int32_t> packed = pack_rows(codes, 5, columns, bits);
    EXPECT_EQ(std::ssize(packed), 5 * words_per_row(columns, bits));
    EXPECT_EQ(unpack_rows(packed, 5, columns, bits), codes) << columns << " columns";
  }
}

// The definition by single bits, against the packer that moves whole codes.
TEST_P(EveryWidth, PutsBitTOfTheStreamIntoBitTModulo32OfItsWord) {
  const int bits = GetParam();
  const std::vector<std::uint8_t> codes = random_codes(67, bits, 11);
  const std::vector<std::int32_t> packed = pack_rows(codes, 1, 67, bits);
  for (std::size_t t = 0; t < packed.size() * 32; ++t) {
    const std::size_t code = t / static_cast<std::size_t>(bits);
    const unsigned expected =
        code < codes.size() ? (codes[code] >> (t % static_cast<std::size_t>(bits))) & 1U : 0U;
    EXPECT_EQ((static_cast<std::uint32_t>(packed[t / 32]) >> (t % 32)) & 1U, expected) << t;
  }
}

TEST_P(EveryWidth, CutsCodesToTheirWidth) {
  const int bits = GetParam();
  const std::vector<std::uint8_t> wild(40, 0xFF);
  const std::vector<std::uint8_t> tame(40, static_cast<std::uint8_t>((1 << bits) - 1));
  EXPECT_EQ(pack_rows(wild, 1, 40, bits), pack_rows(tame, 1, 40, bits));
}

INSTANTIATE_TEST_SUITE_P(Bits, EveryWidth, testing::Range(2, 9));

}  // namespace
}  // namespace lowbit
