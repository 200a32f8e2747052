// Logits equal those of transformers (float32, eager attention), family by family.
#include <gtest/gtest.h>

#include "base/threads.h"
#include "runtime/golden.h"

namespace lowbit {
namespace {

using test::largest_difference;
using test::logits_of;
using test::model_folder;
using test::open_model;
using test::read_golden;

class EveryFamily : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryFamily, GivesTheLogitsOfTransformers) {
  const Path folder = model_folder(GetParam());
  const auto golden = read_golden(folder / "golden.safetensors");
  const auto logits = logits_of(open_model(folder), golden.tokens);
  EXPECT_LT(largest_difference(logits, golden.logits), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Logits, EveryFamily,
                         ::testing::Values("llama2", "llama2-biases", "llama31-rope",
                                           "llama-linear-rope", "mistral-window", "qwen2", "qwen3",
                                           "opt", "opt-sharded"));

class SharedModel : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedModel, GivesTheLogitsOfTransformers) {
  const Path folder = test::shared_folder() / "models" / GetParam();
  if (!real_file_system().exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto golden = read_golden(folder / "golden_logits.safetensors");
  const auto logits = logits_of(open_model(folder), golden.tokens);
  const double difference = largest_difference(logits, golden.logits);
  RecordProperty("largest_difference", std::to_string(difference));
  EXPECT_LT(difference, 2e-3);
}

INSTANTIATE_TEST_SUITE_P(Logits, SharedModel,
                         ::testing::Values("tiny-llama", "mini-llama", "mini-qwen"));

TEST(FinalStates, DoNotDependOnTheOtherWindows) {
  const ReferenceModel model = open_model(model_folder("mistral-window"));
  const auto golden = read_golden(model_folder("mistral-window") / "golden.safetensors");
  const std::vector<TokenId> other(golden.tokens.rbegin(), golden.tokens.rbegin() + 9);
  const std::vector<std::vector<TokenId>> both = {other, golden.tokens};
  const std::vector<std::vector<TokenId>> alone = {golden.tokens};
  EXPECT_EQ(model.final_states(both, {})->at(1), model.final_states(alone, {})->at(0));
}

TEST(FinalStates, DoNotLookAhead) {
  const ReferenceModel model = open_model(model_folder("llama2"));
  const auto golden = read_golden(model_folder("llama2") / "golden.safetensors");
  std::vector<TokenId> shorter(golden.tokens.begin(), golden.tokens.begin() + 11);
  const auto logits = logits_of(model, shorter);
  const std::vector<float> begin(golden.logits.begin(), golden.logits.begin() + std::ssize(logits));
  EXPECT_LT(largest_difference(logits, begin), 1e-4);
}

TEST(FinalStates, ReportEveryStep) {
  const ReferenceModel model = open_model(model_folder("opt"));
  const std::vector<std::vector<TokenId>> windows = {{5, 6, 7}, {8, 9}};
  std::vector<std::int64_t> seen;
  const auto states = model.final_states(windows, [&](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(total, 2 * 2);
    seen.push_back(done);
  });
  ASSERT_TRUE(states.ok());
  EXPECT_EQ(seen, (std::vector<std::int64_t>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace lowbit
