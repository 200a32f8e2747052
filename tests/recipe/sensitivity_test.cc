// Kurtosis of weights and the split of blocks by it.
#include "recipe/sensitivity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/threads.h"
#include "recipe/llama_folder.h"

namespace lowbit {
namespace {

TEST(ExcessKurtosis, IsTheBiasedFisherForm) {
  EXPECT_NEAR(excess_kurtosis(std::vector<float>{1, 2, 3, 4, 5}), -1.3, 1e-12);
  EXPECT_NEAR(excess_kurtosis(std::vector<float>{0, 0, 0, 10}), 49.0 / 21.0 - 3.0, 1e-12);
  EXPECT_NEAR(excess_kurtosis(std::vector<float>{-1, 1}), -2.0, 1e-12);
}

TEST(ExcessKurtosis, IsZeroForEqualValues) {
  EXPECT_EQ(excess_kurtosis({}), 0);
  EXPECT_EQ(excess_kurtosis(std::vector<float>{3}), 0);
  EXPECT_EQ(excess_kurtosis(std::vector<float>(1000, 0.1F)), 0);
}

TEST(ExcessKurtosis, DoesNotChangeUnderShiftAndScale) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(100'000);
  for (float& value : values) value = std::round(normal(random) * 64.0F);
  std::vector<float> moved = values;
  for (float& value : moved) value = value * 0.5F + 4096.0F;  // exact in float
  EXPECT_NEAR(excess_kurtosis(moved), excess_kurtosis(values), 1e-9);
}

TEST(ExcessKurtosis, IsTheSameForEveryThreadCount) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> values(300'001);
  for (float& value : values) value = normal(random);
  const int threads = thread_count();
  set_thread_count(1);
  const double one = excess_kurtosis(values);
  set_thread_count(5);
  EXPECT_EQ(excess_kurtosis(values), one);
  set_thread_count(threads);
}

struct Sizes {
  std::ptrdiff_t blocks, robust, sensitive;
};

TEST(SplitBySensitivity, HasThePublishedSizes) {
  for (const Sizes& sizes : std::vector<Sizes>{{28, 3, 4},
                                               {32, 6, 8},
                                               {40, 6, 8},
                                               {48, 9, 12},
                                               {64, 12, 16},
                                               {80, 15, 20},
                                               {15, 3, 4}}) {
    std::vector<double> kurtosis(static_cast<std::size_t>(sizes.blocks));
    for (std::size_t i = 0; i < kurtosis.size(); ++i)
      kurtosis[i] = std::sin(static_cast<double>(i));
    const std::vector<Sensitivity> split = split_by_sensitivity(kurtosis);
    EXPECT_EQ(std::count(split.begin(), split.end(), Sensitivity::robust), sizes.robust);
    EXPECT_EQ(std::count(split.begin(), split.end(), Sensitivity::sensitive), sizes.sensitive);
    double highest_robust = -2;
    double lowest_sensitive = 2;
    for (std::size_t i = 0; i < split.size(); ++i) {
      if (split[i] == Sensitivity::robust) highest_robust = std::max(highest_robust, kurtosis[i]);
      if (split[i] == Sensitivity::sensitive) {
        lowest_sensitive = std::min(lowest_sensitive, kurtosis[i]);
      }
    }
    for (std::size_t i = 0; i < split.size(); ++i) {
      if (split[i] != Sensitivity::moderate) continue;
      EXPECT_GT(kurtosis[i], highest_robust);
      EXPECT_LT(kurtosis[i], lowest_sensitive);
    }
  }
}

TEST(SplitBySensitivity, SelectsOneOfEachInSmallModels) {
  for (const Sizes& sizes :
       std::vector<Sizes>{{1, 0, 0}, {3, 0, 0}, {4, 1, 1}, {8, 1, 1}, {14, 1, 1}}) {
    const std::vector<double> kurtosis(static_cast<std::size_t>(sizes.blocks), 1.0);
    const std::vector<Sensitivity> split = split_by_sensitivity(kurtosis);
    EXPECT_EQ(std::count(split.begin(), split.end(), Sensitivity::robust), sizes.robust);
    EXPECT_EQ(std::count(split.begin(), split.end(), Sensitivity::sensitive), sizes.sensitive);
  }
  EXPECT_TRUE(split_by_sensitivity({}).empty());
}

TEST(SplitBySensitivity, TakesTheLowerIndexAsTheLowerOfEqualBlocks) {
  using enum Sensitivity;
  EXPECT_EQ(split_by_sensitivity(std::vector<double>{1, 1, 1, 1}),
            (std::vector<Sensitivity>{robust, moderate, moderate, sensitive}));
  EXPECT_EQ(split_by_sensitivity(std::vector<double>{5, 5, 0, 0}),
            (std::vector<Sensitivity>{moderate, sensitive, robust, moderate}));
}

TEST(WeightStatistics, HoldsEveryLinearAndTheMeanOfABlock) {
  const LlamaFolder folder({.blocks = 2});
  const Checkpoint checkpoint = folder.open();
  const ModelSpec model = read_model_spec(checkpoint.config()).value();
  const auto blocks = weight_statistics(checkpoint, model);
  ASSERT_TRUE(blocks.ok()) << blocks.error().message;
  ASSERT_EQ(blocks->size(), 2U);
  ASSERT_EQ((*blocks)[1].linears.size(), 7U);
  const LinearStatistics& down = (*blocks)[1].linears.back();
  EXPECT_EQ(down.name, "model.layers.1.mlp.down_proj");
  const std::vector<float> weight = checkpoint.floats(down.name + ".weight", {64, 96}).value();
  EXPECT_EQ(down.kurtosis, excess_kurtosis(weight));
  EXPECT_EQ(down.min, *std::min_element(weight.begin(), weight.end()));
  EXPECT_EQ(down.max, *std::max_element(weight.begin(), weight.end()));
  double sum = 0;
  for (const LinearStatistics& linear : (*blocks)[1].linears) sum += linear.kurtosis;
  EXPECT_DOUBLE_EQ((*blocks)[1].kurtosis, sum / 7);
}

}  // namespace
}  // namespace lowbit
