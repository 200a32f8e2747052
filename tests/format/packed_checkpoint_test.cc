// One linear written and read back, and each way in which its tensors can be wrong.
#include "format/packed_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "format/owned_tensors.h"
#include "format/rtn_checkpoint.h"
#include "format/value_grid.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

Result<GroupAffineWeight> read_back(const std::vector<OwnedTensor>& tensors,
                                    const WeightScheme& scheme, std::int64_t out = kOut,
                                    std::int64_t in = kIn) {
  const Result<Checkpoint> checkpoint = written(tensors);
  if (!checkpoint) return checkpoint.error();
  return read_group_affine(*checkpoint, "l", out, in, scheme);
}

std::string error_code(const std::vector<OwnedTensor>& tensors, const WeightScheme& scheme) {
  const Result<GroupAffineWeight> weight = read_back(tensors, scheme);
  if (weight) return "none";
  EXPECT_THAT(weight.error().message, HasSubstr("'l"));
  return weight.error().code;
}

void expect_same(const GroupAffineWeight& a, const GroupAffineWeight& b) {
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.zeros, b.zeros);
  EXPECT_EQ(a.group_size, b.group_size);
  EXPECT_EQ(a.scale_type, b.scale_type);
}

TEST(PackedCheckpoint, ReturnsWhatWasWritten) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {false, true}) {
      for (const std::int64_t group : {0, 8, 32, 48}) {
        const WeightScheme scheme{bits, group, symmetric};
        const GroupAffineWeight weight = some_weight(scheme);
        const Result<GroupAffineWeight> again = read_back(tensors_of(weight), scheme);
        ASSERT_TRUE(again) << again.error().message;
        expect_same(weight, *again);
      }
    }
  }
}

// Rows [begin, end) of a weight.
GroupAffineWeight part_of(const GroupAffineWeight& weight, std::int64_t begin, std::int64_t end) {
  GroupAffineWeight part = weight;
  part.out = end - begin;
  const auto cut = [&](auto& all, std::int64_t width) {
    all.assign(all.begin() + begin * width, all.begin() + end * width);
  };
  cut(part.codes, weight.in);
  cut(part.scales, weight.groups());
  cut(part.zeros, weight.groups());
  return part;
}

TEST(PackedTensors, AreTheSameFromRunsOfRows) {
  constexpr std::int64_t kRows = 77;
  std::vector<float> values;
  for (std::int64_t i = 0; i < kRows * kIn; ++i) {
    values.push_back(std::sin(static_cast<float>(i * i % 1013)) + .3F);
  }
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {false, true}) {
      const GroupAffineWeight weight =
          round_to_nearest(values, kRows, kIn, {bits, 32, symmetric}, DType::f16);
      const PackedTensors whole("l", weight);
      PackedTensors runs("l", part_of(weight, 0, 32));
      runs.reserve(kRows);
      runs.append(part_of(weight, 32, 64));
      runs.append(part_of(weight, 64, kRows));
      const auto expected = whole.tensors();
      const auto found = runs.tensors();
      ASSERT_EQ(found.size(), expected.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(found[i].shape, expected[i].shape) << found[i].name;
        EXPECT_TRUE(std::ranges::equal(found[i].bytes, expected[i].bytes)) << found[i].name;
      }
    }
  }
}

TEST(PackedRows, AreThoseOfTheDecodedWeight) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {false, true}) {
      const WeightScheme scheme{bits, 48, symmetric};
      const GroupAffineWeight weight = some_weight(scheme, DType::f16);
      const std::vector<float> expected = weight.dequantize();
      const Checkpoint checkpoint = written(tensors_of(weight)).value();
      const PackedRows rows = PackedRows::open(checkpoint, "l", kOut, kIn, scheme).value();
      std::vector<float> found(kOut * kIn);
      for (std::int64_t row = kOut - 1; row >= 0; --row) {
        ASSERT_TRUE(rows.decode(row, std::span(found).subspan(static_cast<std::size_t>(row * kIn),
                                                              static_cast<std::size_t>(kIn))));
      }
      EXPECT_EQ(found, expected) << bits;
    }
  }
}

TEST(PackedRows, NameTheRowAndGroupOfADamagedScale) {
  const WeightScheme scheme{4, 32, false};
  std::vector<OwnedTensor> tensors = tensors_of(some_weight(scheme));
  std::vector<std::byte>& scales = named(tensors, "l.weight_scale").bytes;
  std::fill_n(scales.begin() + 2 * (5 * 3 + 1), 2, std::byte{0});
  const Checkpoint checkpoint = written(tensors).value();
  const PackedRows rows = PackedRows::open(checkpoint, "l", kOut, kIn, scheme).value();
  std::vector<float> row(kIn);
  EXPECT_TRUE(rows.decode(4, row));
  const Status status = rows.decode(5, row);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, "packed/bad-scale");
  EXPECT_THAT(status.error().message, HasSubstr("row 5, group 1"));
}

TEST(PackedCheckpoint, KeepsEachScaleType) {
  for (const DType type : {DType::bf16, DType::f16, DType::f32}) {
    const GroupAffineWeight weight = some_weight({4, 32, false}, type);
    const Result<GroupAffineWeight> again = read_back(tensors_of(weight), {4, 32, false});
    ASSERT_TRUE(again) << again.error().message;
    expect_same(weight, *again);
  }
}

TEST(PackedCheckpoint, StoresAsManyBytesAsTheWeightSays) {
  for (int bits = 2; bits <= 8; ++bits) {
    const GroupAffineWeight weight = some_weight({bits, 32, bits % 2 == 0});
    std::size_t bytes = 0;
    for (const OwnedTensor& tensor : tensors_of(weight)) bytes += tensor.bytes.size();
    EXPECT_EQ(8 * static_cast<std::int64_t>(bytes), weight.stored_bits());
  }
}

// Packs rows with floor(32 / bits) codes a word: as compressed-tensors 0.17 did.
std::vector<std::byte> whole_code_bytes(const std::vector<std::uint8_t>& codes, std::int64_t rows,
                                        std::int64_t columns, int bits) {
  const std::int64_t words = words_per_row_whole_codes(columns, bits);
  std::vector<std::uint32_t> stored(static_cast<std::size_t>(rows * words));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = 0; i < columns; ++i) {
      stored[static_cast<std::size_t>(row * words + i / (32 / bits))] |=
          static_cast<std::uint32_t>(codes[static_cast<std::size_t>(row * columns + i)])
          << (i % (32 / bits) * bits);
    }
  }
  const auto bytes = std::as_bytes(std::span(stored));
  return {bytes.begin(), bytes.end()};
}

TEST(PackedCheckpoint, ReadsTheOlderStreamByItsColumnCount) {
  for (const int bits : {3, 5, 6, 7}) {
    const WeightScheme scheme{bits, 32, true};
    const GroupAffineWeight weight = some_weight(scheme);
    std::vector<OwnedTensor> tensors = tensors_of(weight);
    OwnedTensor& packed = named(tensors, "l.weight_packed");
    packed.shape = {kOut, words_per_row_whole_codes(kIn, bits)};
    packed.bytes = whole_code_bytes(weight.codes, kOut, kIn, bits);
    const Result<GroupAffineWeight> again = read_back(tensors, scheme);
    ASSERT_TRUE(again) << again.error().message;
    expect_same(weight, *again);
  }
}

TEST(PackedRows, ReadTheOlderStreamToo) {
  for (const int bits : {3, 5, 6, 7}) {
    const WeightScheme scheme{bits, 32, false};
    const GroupAffineWeight weight = some_weight(scheme);
    std::vector<OwnedTensor> tensors = tensors_of(weight);
    OwnedTensor& packed = named(tensors, "l.weight_packed");
    packed.shape = {kOut, words_per_row_whole_codes(kIn, bits)};
    packed.bytes = whole_code_bytes(weight.codes, kOut, kIn, bits);
    // Zero points run down the rows: words of the first column, the second, the third.
    const std::int64_t words = words_per_row_whole_codes(kOut, bits);
    OwnedTensor& zeros = named(tensors, "l.weight_zero_point");
    zeros.shape = {words, 3};
    zeros.bytes.assign(static_cast<std::size_t>(words * 3 * 4), std::byte{0});
    for (std::size_t group = 0; group < 3; ++group) {
      std::vector<std::uint8_t> column;
      for (std::size_t row = 0; row < kOut; ++row) column.push_back(weight.zeros[row * 3 + group]);
      const std::vector<std::byte> stream = whole_code_bytes(column, 1, kOut, bits);
      for (std::size_t word = 0; word < static_cast<std::size_t>(words); ++word) {
        std::memcpy(&zeros.bytes[4 * (word * 3 + group)], &stream[4 * word], 4);
      }
    }
    const Checkpoint checkpoint = written(tensors).value();
    const PackedRows rows = PackedRows::open(checkpoint, "l", kOut, kIn, scheme).value();
    const std::vector<float> expected = weight.dequantize();
    std::vector<float> row(kIn);
    for (std::int64_t o = 0; o < kOut; ++o) {
      ASSERT_TRUE(rows.decode(o, row));
      EXPECT_TRUE(std::equal(row.begin(), row.end(), expected.begin() + o * kIn)) << bits;
    }
  }
}

TEST(PackedCheckpoint, TakesAGroupLargerThanTheRowAsTheRow) {
  const GroupAffineWeight weight = some_weight({4, 0, true});
  const Result<GroupAffineWeight> again = read_back(tensors_of(weight), {4, 128, true});
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->group_size, kIn);
}

TEST(PackedCheckpoint, RefusesAMissingTensor) {
  const WeightScheme scheme{4, 32, false};
  const std::vector<OwnedTensor> whole = tensors_of(some_weight(scheme));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::vector<OwnedTensor> tensors = whole;
    tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_EQ(error_code(tensors, scheme), "packed/missing-tensor") << whole[i].name;
  }
}

TEST(PackedCheckpoint, RefusesAnotherTypeOfTheSameSize) {
  const WeightScheme scheme{4, 32, false};
  const std::vector<OwnedTensor> whole = tensors_of(some_weight(scheme));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::vector<OwnedTensor> tensors = whole;
    DType& type = tensors[i].dtype;
    type = type == DType::i32 ? DType::u32 : type == DType::i64 ? DType::u64 : DType::i16;
    EXPECT_EQ(error_code(tensors, scheme), "packed/wrong-dtype") << whole[i].name;
  }
}

TEST(PackedCheckpoint, RefusesAnotherShapeOfTheSameSize) {
  const WeightScheme scheme{4, 32, false};
  const std::vector<OwnedTensor> whole = tensors_of(some_weight(scheme));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::vector<OwnedTensor> tensors = whole;
    tensors[i].shape.push_back(1);
    EXPECT_EQ(error_code(tensors, scheme), "packed/wrong-shape") << whole[i].name;
    tensors = whole;
    std::reverse(tensors[i].shape.begin(), tensors[i].shape.end());
    if (tensors[i].shape == whole[i].shape) continue;
    EXPECT_EQ(error_code(tensors, scheme), "packed/wrong-shape") << whole[i].name;
  }
}

TEST(PackedCheckpoint, RefusesAnotherWeightShape) {
  const WeightScheme scheme{4, 32, false};
  std::vector<OwnedTensor> tensors = tensors_of(some_weight(scheme));
  std::vector<std::byte>& bytes = named(tensors, "l.weight_shape").bytes;
  std::swap_ranges(bytes.begin(), bytes.begin() + 8, bytes.begin() + 8);
  EXPECT_EQ(error_code(tensors, scheme), "packed/wrong-shape");
}

TEST(PackedCheckpoint, RefusesAnotherSchemeThanTheTensorsHave) {
  const std::vector<OwnedTensor> tensors = tensors_of(some_weight({4, 32, false}));
  EXPECT_EQ(error_code(tensors, {3, 32, false}), "packed/wrong-shape");
  EXPECT_EQ(error_code(tensors, {4, 48, false}), "packed/wrong-shape");
  EXPECT_EQ(error_code(tensors, {4, 36, false}), "packed/bad-config");
  EXPECT_EQ(error_code(tensors, {9, 32, false}), "packed/bad-config");
}

TEST(PackedCheckpoint, RefusesAFloatWeightBesideThePackedOne) {
  const WeightScheme scheme{4, 32, false};
  std::vector<OwnedTensor> tensors = tensors_of(some_weight(scheme));
  tensors.push_back({"l.weight", DType::bf16, {1}, std::vector<std::byte>(2)});
  EXPECT_EQ(error_code(tensors, scheme), "packed/both-weights");
}

TEST(PackedCheckpoint, RefusesAnActivationOrder) {
  const WeightScheme scheme{4, 32, false};
  std::vector<OwnedTensor> tensors = tensors_of(some_weight(scheme));
  tensors.push_back({"l.weight_g_idx", DType::i32, {1}, std::vector<std::byte>(4)});
  EXPECT_EQ(error_code(tensors, scheme), "packed/unsupported-method");
}

TEST(PackedCheckpoint, NamesRowAndGroupOfABadScale) {
  const WeightScheme scheme{4, 32, false};
  for (const float bad : {0.0F, -0.0F, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<OwnedTensor> tensors = tensors_of(some_weight(scheme, DType::f32));
    std::memcpy(named(tensors, "l.weight_scale").bytes.data() + 4 * (5 * 3 + 2), &bad, 4);
    const Result<GroupAffineWeight> weight = read_back(tensors, scheme);
    ASSERT_FALSE(weight.ok());
    EXPECT_EQ(weight.error().code, "packed/bad-scale");
    EXPECT_THAT(weight.error().message, HasSubstr("row 5, group 2"));
  }
}

TEST(PackedCheckpoint, AcceptsANegativeScale) {
  const WeightScheme scheme{4, 32, false};
  std::vector<OwnedTensor> tensors = tensors_of(some_weight(scheme, DType::f32));
  const float negative = -.5F;
  std::memcpy(named(tensors, "l.weight_scale").bytes.data(), &negative, 4);
  const Result<GroupAffineWeight> weight = read_back(tensors, scheme);
  ASSERT_TRUE(weight) << weight.error().message;
  EXPECT_EQ(weight->scales[0], negative);
}

constexpr std::int64_t kWide = 128;  // nf4's groups divide it

GroupAffineWeight some_values(WeightFormat format) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < kOut * kWide; ++i) {
    values.push_back(std::sin(static_cast<float>(i * i % 1013)) + .3F);
  }
  return round_to_nearest(values, kOut, kWide, value_format(format)->scheme, DType::bf16);
}

Result<GroupAffineWeight> values_back(const std::vector<OwnedTensor>& tensors,
                                      WeightFormat format) {
  return read_back(tensors, value_format(format)->scheme, kOut, kWide);
}

std::string value_error(const std::vector<OwnedTensor>& tensors, WeightFormat format) {
  const Result<GroupAffineWeight> weight = values_back(tensors, format);
  return weight ? "none" : weight.error().code;
}

class ValueCheckpoint : public testing::TestWithParam<WeightFormat> {};

TEST_P(ValueCheckpoint, ReturnsWhatWasWritten) {
  const GroupAffineWeight weight = some_values(GetParam());
  const std::vector<OwnedTensor> tensors = tensors_of(weight);
  std::size_t bytes = 0;
  for (const OwnedTensor& tensor : tensors) bytes += tensor.bytes.size();
  EXPECT_EQ(8 * static_cast<std::int64_t>(bytes), weight.stored_bits());
  const Result<GroupAffineWeight> again = values_back(tensors, GetParam());
  ASSERT_TRUE(again) << again.error().message;
  expect_same(weight, *again);
  EXPECT_EQ(again->global_scale, weight.global_scale);
  EXPECT_EQ(again->dequantize(), weight.dequantize());
}

TEST_P(ValueCheckpoint, RowsAreThoseOfTheDecodedWeight) {
  const GroupAffineWeight weight = some_values(GetParam());
  const std::vector<float> expected = weight.dequantize();
  const Checkpoint checkpoint = written(tensors_of(weight)).value();
  const PackedRows rows =
      PackedRows::open(checkpoint, "l", kOut, kWide, value_format(GetParam())->scheme).value();
  std::vector<float> row(kWide);
  for (std::int64_t o = 0; o < kOut; ++o) {
    ASSERT_TRUE(rows.decode(o, row));
    EXPECT_TRUE(std::equal(row.begin(), row.end(), expected.begin() + o * kWide));
  }
}

TEST_P(ValueCheckpoint, RefusesAMissingTensorAndAnotherTypeOrShape) {
  const std::vector<OwnedTensor> whole = tensors_of(some_values(GetParam()));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::vector<OwnedTensor> tensors = whole;
    tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_EQ(value_error(tensors, GetParam()), "packed/missing-tensor") << whole[i].name;
    tensors = whole;
    const std::size_t width = size_bytes(tensors[i].dtype);
    tensors[i].dtype = width == 1 ? DType::i8 : width == 2 ? DType::i16 : DType::i32;
    EXPECT_THAT(value_error(tensors, GetParam()), HasSubstr("/wrong-dtype")) << whole[i].name;
    tensors = whole;
    tensors[i].shape.push_back(1);
    EXPECT_THAT(value_error(tensors, GetParam()), HasSubstr("/wrong-shape")) << whole[i].name;
  }
}

TEST_P(ValueCheckpoint, RefusesRowsThatGroupsOrWordsDoNotDivide) {
  const WeightScheme& scheme = value_format(GetParam())->scheme;
  const Result<GroupAffineWeight> weight =
      read_back(tensors_of(some_values(GetParam())), scheme, kOut, kWide + 2);
  ASSERT_FALSE(weight);
  EXPECT_EQ(weight.error().code, "packed/bad-config");
}

// Bytes of a scale that are zero, NaN, or, where the type has no sign, negative.
TEST_P(ValueCheckpoint, RefusesScalesThatAreNone) {
  const std::vector<OwnedTensor> whole = tensors_of(some_values(GetParam()));
  for (const int byte : {0x00, 0x7F, 0xFF, 0x81}) {
    std::vector<OwnedTensor> tensors = whole;
    OwnedTensor& scales = named(tensors, "l.weight_scale");
    const bool power = scales.dtype == DType::u8;
    const bool narrow = size_bytes(scales.dtype) == 1;
    const bool sound = power ? byte != 0xFF : byte == 0x81 && !narrow;
    std::fill_n(scales.bytes.begin(), size_bytes(scales.dtype), static_cast<std::byte>(byte));
    if (byte == 0x7F && !narrow) continue;  // a large number
    EXPECT_EQ(value_error(tensors, GetParam()), sound ? "none" : "packed/bad-scale") << byte;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, ValueCheckpoint,
                         testing::Values(WeightFormat::nvfp4, WeightFormat::mxfp4,
                                         WeightFormat::nf4, WeightFormat::fp8),
                         [](const auto& test) {
                           return std::string(value_format(test.param)->name);
                         });

TEST(Nvfp4Checkpoint, HasAGlobalScaleAboveZero) {
  for (const float bad : {0.0F, -1.0F, std::numeric_limits<float>::infinity()}) {
    std::vector<OwnedTensor> tensors = tensors_of(some_values(WeightFormat::nvfp4));
    std::memcpy(named(tensors, "l.weight_global_scale").bytes.data(), &bad, 4);
    EXPECT_EQ(value_error(tensors, WeightFormat::nvfp4),
              std::isinf(bad) ? "checkpoint/non-finite" : "packed/bad-scale");
  }
}

// What others store there multiplies; the reciprocal divides.
TEST(Nvfp4Checkpoint, StoresTheReciprocalOfTheScaleOfTheTensor) {
  const GroupAffineWeight weight = some_values(WeightFormat::nvfp4);
  const Checkpoint checkpoint = written(tensors_of(weight)).value();
  const float stored = checkpoint.floats("l.weight_global_scale", {1}).value().front();
  const std::vector<float> decoded = weight.dequantize();
  const float largest = *std::max_element(decoded.begin(), decoded.end());
  EXPECT_NEAR(448 * 6 / stored, largest, 1e-5);
}

TEST(Fp8Checkpoint, RefusesNaNAndNamesRowAndColumn) {
  for (const int nan : {0x7F, 0xFF}) {
    std::vector<OwnedTensor> tensors = tensors_of(some_values(WeightFormat::fp8));
    named(tensors, "l.weight").bytes[5 * kWide + 7] = static_cast<std::byte>(nan);
    const Result<GroupAffineWeight> weight = values_back(tensors, WeightFormat::fp8);
    ASSERT_FALSE(weight);
    EXPECT_EQ(weight.error().code, "packed/bad-code");
    EXPECT_THAT(weight.error().message, HasSubstr("row 5, column 7"));
    const Checkpoint checkpoint = written(tensors).value();
    const WeightScheme& scheme = value_format(WeightFormat::fp8)->scheme;
    const PackedRows rows = PackedRows::open(checkpoint, "l", kOut, kWide, scheme).value();
    std::vector<float> row(kWide);
    EXPECT_TRUE(rows.decode(4, row));
    EXPECT_EQ(rows.decode(5, row).error().code, "packed/bad-code");
  }
}

}  // namespace
}  // namespace lowbit
