// What a checkpoint keeps of a linear's input, and beside its weight: scales, factors of a
// transform, low-rank pairs; each way in which those can be wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <span>

#include "format/owned_tensors.h"
#include "format/packed_checkpoint.h"
#include "format/value_grid.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

// A matrix of one value, and how reading it ends.
struct Stored {
  DType type;
  std::vector<std::int64_t> shape;
  std::uint16_t value;
  std::string code;
};

void add(std::vector<OwnedTensor>& tensors, const std::string& name, const Stored& stored) {
  std::int64_t count = 1;
  for (const std::int64_t size : stored.shape) count *= size;
  const std::vector<std::uint16_t> values(static_cast<std::size_t>(count), stored.value);
  const auto bytes = std::as_bytes(std::span(values));
  tensors.push_back({name, stored.type, stored.shape, {bytes.begin(), bytes.end()}});
}

// A checkpoint with an input scale of these values, of static integers or of nvfp4.
Result<float> input_scale(const std::vector<float>& values, const ActivationScheme& scheme) {
  std::vector<OwnedTensor> tensors = tensors_of(some_weight({4, 32, false}));
  const auto bytes = std::as_bytes(std::span(values));
  tensors.push_back({scheme.is_static() ? "l.input_scale" : "l.input_global_scale",
                     DType::f32,
                     {std::ssize(values)},
                     {bytes.begin(), bytes.end()}});
  const Result<Checkpoint> checkpoint = written(tensors);
  if (!checkpoint) return checkpoint.error();
  return read_input_scale(*checkpoint, "l", scheme);
}

class InputScale : public testing::TestWithParam<ActivationScheme> {};

TEST_P(InputScale, IsOneNumberAboveZero) {
  const ActivationScheme& scheme = GetParam();
  EXPECT_EQ(input_scale({.25F}, scheme).value(), .25F);
  constexpr float kNothing = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  for (const float bad : {0.0F, -1.0F}) {
    EXPECT_EQ(input_scale({bad}, scheme).error().code, "packed/bad-scale") << bad;
  }
  for (const float bad : {kNothing, kInfinite}) {
    EXPECT_EQ(input_scale({bad}, scheme).error().code, "checkpoint/non-finite") << bad;
  }
  EXPECT_EQ(input_scale({1.0F, 2.0F}, scheme).error().code, "checkpoint/wrong-shape");
  const Result<Checkpoint> without = written(tensors_of(some_weight({4, 32, false})));
  const Result<float> missing = read_input_scale(*without, "l", scheme);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, "packed/missing-tensor");
  EXPECT_THAT(missing.error().message,
              HasSubstr(scheme.is_static() ? "l.input_scale" : "l.input_global_scale"));
}

INSTANTIATE_TEST_SUITE_P(
    Schemes, InputScale,
    testing::Values(ActivationScheme{8, ActivationGranularity::tensor, 0, true},
                    input_scheme(*value_format(WeightFormat::nvfp4))),
    [](const auto& test) { return std::string(test.param.is_static() ? "integers" : "nvfp4"); });

TEST(Nvfp4Checkpoint, HasTheGlobalScaleOfItsInputBesideTheWeight) {
  LinearScheme scheme{value_format(WeightFormat::nvfp4)->scheme,
                      input_scheme(*value_format(WeightFormat::nvfp4))};
  scheme.activation.scale = 123.5F;
  const std::vector<OwnedTensor> tensors = tensors_of(some_weight(scheme.weight), scheme);
  EXPECT_EQ(tensors.back().name, "l.input_global_scale");
  EXPECT_EQ(tensors.back().dtype, DType::f32);
  EXPECT_EQ(tensors.back().shape, std::vector<std::int64_t>{1});
  EXPECT_THAT(stored_input_parts("l", scheme), testing::ElementsAre("input_global_scale"));
}

const InputTransform kFactored{.kronecker = {2, 16}, .stored_with = "l"};

TEST(InputFactors, AreReadAsTheyWereWritten) {
  LinearScheme scheme{{4, 32, false}, {}, kFactored};
  auto factors = std::make_shared<KroneckerFactors>();
  factors->size = {2, 16};
  factors->left = {0.5F, -0.25F, 1.0F, 3.0F};
  factors->right.assign(256, 0.125F);
  scheme.transform.factors = factors;
  EXPECT_EQ(stored_input_parts("l", scheme).size(), 2U);
  EXPECT_TRUE(stored_input_parts("k", scheme).empty()) << "stored once";
  std::vector<OwnedTensor> tensors = tensors_of(some_weight({4, 32, false}), scheme);
  const Result<Checkpoint> checkpoint = written(tensors);
  EXPECT_EQ(read_factors(*checkpoint, kFactored).value(), scheme.transform);
  EXPECT_EQ(read_factors(*checkpoint, {.hadamard = 32}).value(), (InputTransform{.hadamard = 32}));
}

TEST(InputFactors, AreTwoFiniteHalfFloatMatricesOfTheirSizes) {
  for (const Stored& right :
       std::vector<Stored>{{DType::bf16, {16, 16}, 0x3C00, "packed/wrong-dtype"},
                           {DType::f16, {256}, 0x3C00, "packed/wrong-shape"},
                           {DType::f16, {16, 15}, 0x3C00, "packed/wrong-shape"},
                           {DType::f16, {0, 0}, 0x3C00, "packed/wrong-shape"},
                           {DType::f16, {16, 16}, 0x7C00, "checkpoint/non-finite"},
                           {DType::f16, {16, 16}, 0x7E00, "checkpoint/non-finite"}}) {
    std::vector<OwnedTensor> tensors = tensors_of(some_weight({4, 32, false}));
    add(tensors, "l.input_left", {DType::f16, {2, 2}, 0x3C00, ""});
    EXPECT_EQ(read_factors(*written(tensors), kFactored).error().code, "packed/missing-tensor");
    add(tensors, "l.input_right", right);
    EXPECT_EQ(read_factors(*written(tensors), kFactored).error().code, right.code);
  }
}

const LowRank kRankTwo{.rank = 2};

TEST(LowRankPair, IsReadAsItWasWritten) {
  LinearScheme scheme{.weight = {4, 32, false}, .low_rank = kRankTwo};
  auto pair = std::make_shared<LowRankPair>();
  for (std::int64_t i = 0; i < 2 * kOut; ++i) pair->left.push_back(static_cast<float>(i) / 8);
  for (std::int64_t i = 0; i < 2 * kIn; ++i) pair->right.push_back(-static_cast<float>(i));
  scheme.low_rank.pair = pair;
  EXPECT_EQ(stored_input_parts("l", scheme).size(), 2U);
  std::vector<OwnedTensor> tensors = tensors_of(some_weight({4, 32, false}), scheme);
  EXPECT_EQ(named(tensors, "l.low_rank_left").shape, (std::vector<std::int64_t>{kOut, 2}));
  EXPECT_EQ(named(tensors, "l.low_rank_right").shape, (std::vector<std::int64_t>{2, kIn}));
  const Result<Checkpoint> checkpoint = written(tensors);
  EXPECT_EQ(read_low_rank(*checkpoint, "l", kRankTwo, kOut, kIn).value(), scheme.low_rank);
  EXPECT_EQ(read_low_rank(*checkpoint, "l", {}, kOut, kIn).value(), LowRank{});
}

TEST(LowRankPair, IsTwoFiniteHalfFloatMatricesOfItsRank) {
  for (const Stored& right :
       std::vector<Stored>{{DType::bf16, {2, kIn}, 0x3C00, "packed/wrong-dtype"},
                           {DType::f16, {2 * kIn}, 0x3C00, "packed/wrong-shape"},
                           {DType::f16, {kIn, 2}, 0x3C00, "packed/wrong-shape"},
                           {DType::f16, {3, kIn}, 0x3C00, "packed/wrong-shape"},
                           {DType::f16, {0, kIn}, 0x3C00, "packed/wrong-shape"},
                           {DType::f16, {2, kIn}, 0xFC00, "checkpoint/non-finite"},
                           {DType::f16, {2, kIn}, 0x7E00, "checkpoint/non-finite"}}) {
    std::vector<OwnedTensor> tensors = tensors_of(some_weight({4, 32, false}));
    const auto code = [&] {
      return read_low_rank(*written(tensors), "l", kRankTwo, kOut, kIn).error().code;
    };
    EXPECT_EQ(code(), "packed/missing-tensor");
    add(tensors, "l.low_rank_left", {DType::f16, {kOut, 2}, 0x3C00, ""});
    EXPECT_EQ(code(), "packed/missing-tensor");
    add(tensors, "l.low_rank_right", right);
    EXPECT_EQ(code(), right.code);
  }
}

TEST(LowRankPair, HasAtMostTheRankOfItsWeight) {
  EXPECT_TRUE(check_low_rank("l", {.rank = kOut}, kOut, kIn).ok());
  const Result<Checkpoint> checkpoint = written(tensors_of(some_weight({4, 32, false})));
  for (const std::int64_t rank : {kOut + 1, std::int64_t{1} << 30}) {
    EXPECT_EQ(read_low_rank(*checkpoint, "l", {.rank = rank}, kOut, kIn).error().code,
              "packed/bad-config");
  }
}

}  // namespace
}  // namespace lowbit
