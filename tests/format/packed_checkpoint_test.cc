// One linear written and read back, and each way in which its tensors can be wrong.
#include "format/packed_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "format/rtn_checkpoint.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kOut = 12;
constexpr std::int64_t kIn = 96;

// A tensor that owns its bytes, so that a test may change it.
struct OwnedTensor {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

GroupAffineWeight some_weight(const WeightScheme& scheme, DType scale_type = DType::bf16) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < kOut * kIn; ++i) {
    values.push_back(std::sin(static_cast<float>(i * i % 1013)) + .3F);
  }
  return round_to_nearest(values, kOut, kIn, scheme, scale_type);
}

std::vector<OwnedTensor> tensors_of(const GroupAffineWeight& weight) {
  const PackedTensors packed("l", weight);
  std::vector<OwnedTensor> result;
  for (const TensorToWrite& tensor : packed.tensors()) {
    result.push_back(
        {tensor.name, tensor.dtype, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}});
  }
  return result;
}

OwnedTensor& named(std::vector<OwnedTensor>& tensors, std::string_view name) {
  for (OwnedTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << "no " << name;
  return tensors.front();
}

Result<GroupAffineWeight> read_back(const std::vector<OwnedTensor>& tensors,
                                    const WeightScheme& scheme, std::int64_t out = kOut,
                                    std::int64_t in = kIn) {
  const Path folder =
      Path(testing::TempDir()) / (std::string("lowbit_packed_") +
                                  testing::UnitTest::GetInstance()->current_test_info()->name());
  std::vector<TensorToWrite> written;
  for (const OwnedTensor& tensor : tensors) {
    written.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes});
  }
  FileSystem& files = real_file_system();
  EXPECT_TRUE(files.make_folders(folder));
  EXPECT_TRUE(write_whole(files, folder / "config.json", "{}"));
  EXPECT_TRUE(write_safetensors(files, folder / "model.safetensors", written));
  const Result<Checkpoint> checkpoint = Checkpoint::open(files, folder);
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

}  // namespace
}  // namespace lowbit
