#include "runtime/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/threads.h"
#include "recipe/machine_file_system.h"
#include "runtime/golden.h"

namespace lowbit {
namespace {

using Sequences = std::vector<std::vector<TokenId>>;

Sequences generated(const ReferenceModel& model, const SamplingOptions& options) {
  auto result = generate(model, options, {});
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? *result : Sequences{};
}

TEST(Generate, GreedyFollowsTheFullForwardPass) {
  // With a window, so that the cache must forget; with learned positions; with rotary ones.
  for (const char* name : {"mistral-window", "opt", "qwen3"}) {
    const ReferenceModel model = test::open_model(test::model_folder(name));
    const auto sequence = generated(
        model, {.sequences = 1, .length = 20, .rule = {.temperature = 0}, .prompt = {5, 9, 11}})[0];
    const auto logits = test::logits_of(model, sequence);
    const auto vocabulary = static_cast<std::size_t>(model.spec().vocabulary);
    RandomNumbers unused(0, 0);
    for (std::size_t at = 2; at + 1 < sequence.size(); ++at) {
      const auto row = std::span(logits).subspan(at * vocabulary, vocabulary);
      EXPECT_EQ(sequence[at + 1], sample(row, {.temperature = 0}, {}, unused)) << name << " " << at;
    }
  }
}

TEST(Generate, GivesTheSameTextForASeedWhateverTheThreads) {
  const ReferenceModel model = test::open_model(test::model_folder("llama2"));
  const SamplingOptions options{.sequences = 5, .length = 24, .seed = 3};
  const int before = thread_count();
  set_thread_count(1);
  const Sequences alone = generated(model, options);
  set_thread_count(3);
  const Sequences together = generated(model, options);
  set_thread_count(before);
  EXPECT_EQ(alone, together);
  EXPECT_NE(alone[0], alone[1]);
  SamplingOptions other = options;
  other.seed = 4;
  EXPECT_NE(generated(model, other), alone);
}

TEST(Generate, BeginsWithBosOrThePrompt) {
  const ReferenceModel model = test::open_model(test::model_folder("llama2"));
  const Sequences free_text = generated(model, {.sequences = 2, .length = 5});
  EXPECT_EQ(free_text[1][0], 1);
  EXPECT_EQ(free_text[1].size(), 5u);
  const Sequences prompted = generated(model, {.sequences = 2, .length = 4, .prompt = {7, 8}});
  EXPECT_EQ(std::vector<TokenId>(prompted[1].begin(), prompted[1].begin() + 2),
            (std::vector<TokenId>{7, 8}));
}

TEST(Generate, RefusesImpossibleOptions) {
  const ReferenceModel model = test::open_model(test::model_folder("llama2"));
  for (const SamplingOptions& bad : std::vector<SamplingOptions>{
           {.sequences = 0}, {.length = 65}, {.length = 1, .prompt = {3, 4}}}) {
    const auto result = generate(model, bad, {});
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, "generate/bad-option");
  }
  const auto result = generate(model, {.length = 8, .rule = {.top_p = 2}}, {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, "sampling/bad-rule");
}

TEST(Generate, SaysHowMuchMemoryIsMissing) {
  MachineFileSystem machine;
  machine.system_files["/proc/meminfo"] = "MemTotal: 99 kB\nMemAvailable: 12 kB\n";
  const auto model = ReferenceModel::open(machine, test::model_folder("llama2"));
  ASSERT_TRUE(model.ok());
  const auto result = generate(*model, {.length = 8}, {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().kind, ErrorKind::environment);
  EXPECT_THAT(result.error().message, ::testing::HasSubstr("12288"));
}

class SharedGreedy : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedGreedy, GivesTheTokensOfTransformers) {
  const Path folder = test::shared_folder() / "models" / GetParam();
  if (!real_file_system().exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto text = real_file_system().read(folder / "golden.json", 1 << 20);
  const Json golden = parse_json(text.value()).value();
  const ReferenceModel model = test::open_model(folder);
  for (const Json& entry : golden["greedy_float32"]) {
    auto expected = entry["prompt_ids"].get<std::vector<TokenId>>();
    const std::vector<TokenId> prompt = expected;
    const auto answer = entry["greedy_ids"].get<std::vector<TokenId>>();
    expected.insert(expected.end(), answer.begin(), answer.end());
    const Sequences text_of_model = generated(model, {.sequences = 1,
                                                      .length = std::ssize(expected),
                                                      .rule = {.temperature = 0},
                                                      .prompt = prompt});
    EXPECT_EQ(text_of_model[0], expected) << entry["prompt"];
  }
}

INSTANTIATE_TEST_SUITE_P(Greedy, SharedGreedy,
                         ::testing::Values("tiny-llama", "mini-llama", "mini-qwen"));

}  // namespace
}  // namespace lowbit
