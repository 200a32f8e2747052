#include "eval/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "runtime/altered_model.h"

namespace lowbit {
namespace {

using Windows = std::vector<std::vector<TokenId>>;

// Six windows of 15 tokens over the small models' vocabulary.
Windows some_windows() {
  Windows windows(6, std::vector<TokenId>(15));
  unsigned state = 12345;
  for (auto& window : windows) {
    for (TokenId& id : window)
      id = static_cast<TokenId>((state = state * 1664525 + 1013904223) % 96);
  }
  return windows;
}

Evaluation evaluated(const ReferenceModel& model, const ReferenceModel* reference,
                     const Windows& windows) {
  const auto result = evaluate(model, reference, windows, {});
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? *result : Evaluation{};
}

// The same definitions, position by position in double.
struct Expected {
  double perplexity, kl, agreement;
};

std::vector<double> log_probabilities(const std::vector<float>& logits, std::size_t row) {
  std::vector<double> values(logits.begin() + static_cast<std::ptrdiff_t>(row * 96),
                             logits.begin() + static_cast<std::ptrdiff_t>(row * 96 + 96));
  double sum = 0;
  for (const double value : values) sum += std::exp(value);
  for (double& value : values) value -= std::log(sum);
  return values;
}

Expected brute_force(const ReferenceModel& model, const ReferenceModel& reference,
                     const Windows& windows) {
  Expected total{0, 0, 0};
  double count = 0;
  for (const auto& window : windows) {
    const auto q_logits = test::logits_of(model, window);
    const auto p_logits = test::logits_of(reference, window);
    for (std::size_t at = 0; at + 1 < window.size(); ++at, ++count) {
      const auto q = log_probabilities(q_logits, at);
      const auto p = log_probabilities(p_logits, at);
      total.perplexity -= q[static_cast<std::size_t>(window[at + 1])];
      for (std::size_t v = 0; v < 96; ++v) total.kl += std::exp(p[v]) * (p[v] - q[v]);
      total.agreement += std::max_element(p.begin(), p.end()) - p.begin() ==
                         std::max_element(q.begin(), q.end()) - q.begin();
    }
  }
  return {std::exp(total.perplexity / count), total.kl / count, total.agreement / count};
}

TEST(Evaluate, FollowsTheDefinitions) {
  const auto reference = test::open_model(test::model_folder("llama2"));
  test::AlteredModel altered("llama2");
  altered.set_floats("model.norm.weight", {48}, std::vector<float>(48, 0.9F));
  const auto model = test::open_model(altered.write());
  const Evaluation result = evaluated(model, &reference, some_windows());
  const Expected expected = brute_force(model, reference, some_windows());
  EXPECT_NEAR(result.perplexity, expected.perplexity, 1e-4 * expected.perplexity);
  EXPECT_NEAR(*result.kl, expected.kl, 1e-6);
  EXPECT_GT(*result.kl, 1e-3);
  EXPECT_NEAR(*result.top1_agreement, expected.agreement, 1e-9);
  EXPECT_NEAR(*result.reference_perplexity,
              evaluated(reference, nullptr, some_windows()).perplexity, 1e-9);
  EXPECT_GT(*result.kl_standard_error, 0.0);
  EXPECT_EQ(result.windows, 6);
}

TEST(Evaluate, GivesAUniformModelItsVocabularySize) {
  test::AlteredModel altered("llama2");
  altered.set_floats("lm_head.weight", {96, 48}, std::vector<float>(96 * 48, 0.0F));
  const auto model = test::open_model(altered.write());
  EXPECT_NEAR(evaluated(model, nullptr, some_windows()).perplexity, 96.0, 1e-4);
}

TEST(Evaluate, FindsNoDistanceOfAModelToItself) {
  const auto model = test::open_model(test::model_folder("mistral-window"));
  const Evaluation result = evaluated(model, &model, some_windows());
  EXPECT_EQ(result.kl, 0.0);
  EXPECT_EQ(result.top1_agreement, 1.0);
  EXPECT_EQ(result.reference_perplexity, result.perplexity);
}

TEST(Evaluate, DoesNotDependOnTheOrderOfWindows) {
  const auto reference = test::open_model(test::model_folder("llama2"));
  const auto model = test::open_model(test::model_folder("mistral-window"));
  Windows windows = some_windows();
  const Evaluation before = evaluated(model, &reference, windows);
  std::rotate(windows.begin(), windows.begin() + 2, windows.end());
  std::swap(windows[0], windows[5]);
  const Evaluation after = evaluated(model, &reference, windows);
  EXPECT_EQ(before.perplexity, after.perplexity);
  EXPECT_EQ(before.kl, after.kl);
  EXPECT_EQ(before.top1_agreement, after.top1_agreement);
}

TEST(Evaluate, MeasuresSeveralModelsAgainstOnePassOfTheReference) {
  const auto reference = test::open_model(test::model_folder("llama2"));
  const auto pass = pass_reference(reference, some_windows(), {});
  ASSERT_TRUE(pass.ok());
  for (const char* name : {"mistral-window", "llama2"}) {
    const auto model = test::open_model(test::model_folder(name));
    const auto alone = evaluated(model, &reference, some_windows());
    const auto beside = evaluate(model, *pass, some_windows(), {});
    ASSERT_TRUE(beside.ok());
    EXPECT_EQ(beside->perplexity, alone.perplexity);
    EXPECT_EQ(beside->reference_perplexity, alone.reference_perplexity);
    EXPECT_EQ(beside->kl, alone.kl);
    EXPECT_EQ(beside->kl_standard_error, alone.kl_standard_error);
    EXPECT_EQ(beside->top1_agreement, alone.top1_agreement);
  }
}

TEST(Evaluate, LeavesOutWhatNeedsAReference) {
  const auto model = test::open_model(test::model_folder("opt"));
  const Evaluation result = evaluated(model, nullptr, some_windows());
  EXPECT_FALSE(result.kl || result.top1_agreement || result.reference_perplexity);
}

TEST(Evaluate, ReportsItsWayToTheEnd) {
  const auto model = test::open_model(test::model_folder("opt"));
  std::int64_t last = 0, whole = 0;
  const auto result =
      evaluate(model, &model, some_windows(), [&](std::int64_t done, std::int64_t total) {
        EXPECT_GT(done, last);
        last = done;
        whole = total;
      });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(last, whole);
}

TEST(Evaluate, RefusesAReferenceOfAnotherVocabulary) {
  const auto model = test::open_model(test::model_folder("llama2"));
  test::AlteredModel altered("llama2");
  altered.config["vocab_size"] = 90;
  for (const char* name : {"lm_head.weight", "model.embed_tokens.weight"}) {
    altered.set_floats(name, {90, 48}, std::vector<float>(90 * 48, 0.1F));
  }
  const auto other = test::open_model(altered.write());
  const auto result = evaluate(model, &other, Windows{{3, 4, 5}}, {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, "eval/vocabularies-differ");
}

TEST(CutWindows, DropsTheRemainderAndStopsAtTheMost) {
  std::vector<TokenId> tokens(23);
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto windows = cut_windows(tokens, {.window_length = 5});
  ASSERT_TRUE(windows.ok());
  EXPECT_EQ(windows->size(), 4u);
  EXPECT_EQ(windows->at(3), (std::vector<TokenId>{15, 16, 17, 18, 19}));
  EXPECT_EQ(cut_windows(tokens, {.window_length = 5, .max_windows = 2})->size(), 2u);
}

TEST(CutWindows, RefusesATextShorterThanAWindow) {
  const std::vector<TokenId> tokens(4);
  EXPECT_EQ(cut_windows(tokens, {.window_length = 5}).error().code, "eval/text-too-short");
  EXPECT_EQ(cut_windows(tokens, {.window_length = 1}).error().code, "eval/window-length");
}

TEST(BitsPerWeight, AreThoseStored) {
  for (const auto& [name, bits] : {std::pair{"llama2", 16.0}, {"qwen3", 32.0}}) {
    const auto stored = bits_per_weight(test::open_model(test::model_folder(name))).value();
    EXPECT_EQ(stored.linears, bits);
    EXPECT_EQ(stored.model, bits);
  }
}

TEST(BitsPerWeight, CountATiedTableOnceAndThoseOfOtherTypes) {
  test::AlteredModel altered("llama2");  // in bfloat16; both tables [96, 48] become float32
  const auto before = test::open_model(altered.write());
  double linears = 0;
  for (std::int64_t index = 0; index < before.spec().blocks; ++index) {
    const BlockSpec block = before.spec().block(index);
    for (const LinearSpec* linear : block.linears()) {
      linears += static_cast<double>(linear->out * linear->in);
    }
  }
  for (const char* name : {"lm_head.weight", "model.embed_tokens.weight"}) {
    altered.set_floats(name, {96, 48}, std::vector<float>(96 * 48, 0.1F));
  }
  const double table = 96 * 48;
  EXPECT_DOUBLE_EQ(bits_per_weight(test::open_model(altered.write())).value().model,
                   (16 * linears + 32 * 2 * table) / (linears + 2 * table));
  altered.config["tie_word_embeddings"] = true;
  const auto tied = bits_per_weight(test::open_model(altered.write())).value();
  EXPECT_DOUBLE_EQ(tied.model, (16 * linears + 32 * table) / (linears + table));
  EXPECT_EQ(tied.linears, 16.0);
}

}  // namespace
}  // namespace lowbit
