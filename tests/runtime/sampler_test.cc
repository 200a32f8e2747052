// Draws against an obvious sampler: everything sorted, everything in double.
#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace lowbit {
namespace {

struct Choice {
  TokenId id;
  double weight;
};

std::vector<float> reference_penalised(std::vector<float> logits, const SamplingRule& rule,
                                       const std::vector<TokenId>& so_far) {
  const std::size_t window = rule.penalty_window == 0
                                 ? so_far.size()
                                 : std::min(so_far.size(), std::size_t(rule.penalty_window));
  for (const TokenId id : std::set<TokenId>(so_far.end() - std::ptrdiff_t(window), so_far.end())) {
    float& logit = logits[std::size_t(id)];
    const double penalty = rule.repetition_penalty;
    logit = float(logit < 0 ? logit * penalty : logit / penalty);
  }
  return logits;
}

// What is left to draw from, likeliest first.
std::vector<Choice> reference_choices(const std::vector<float>& logits, const SamplingRule& rule) {
  std::vector<Choice> all;
  const double top = *std::max_element(logits.begin(), logits.end());
  for (std::size_t id = 0; id < logits.size(); ++id) {
    all.push_back({TokenId(id), std::exp((logits[id] - top) / rule.temperature)});
  }
  std::stable_sort(all.begin(), all.end(),
                   [&](const Choice& a, const Choice& b) { return a.weight > b.weight; });
  if (rule.top_k > 0) all.resize(std::min(all.size(), std::size_t(rule.top_k)));
  double sum = 0.0;
  for (const Choice& choice : all) sum += choice.weight;
  std::vector<Choice> kept;
  double before = 0.0;
  for (const Choice& choice : all) {
    if (rule.top_p < 1.0 && !kept.empty() && before >= rule.top_p * sum) break;
    if (choice.weight < rule.min_p) break;
    before += choice.weight;
    kept.push_back(choice);
  }
  return kept;
}

TokenId reference_sample(const std::vector<float>& logits, const SamplingRule& rule,
                         RandomNumbers& random) {
  std::vector<Choice> choices = reference_choices(logits, rule);
  if (rule.top_k == 0 || rule.top_k >= std::ssize(logits)) {
    std::sort(choices.begin(), choices.end(),
              [](const Choice& a, const Choice& b) { return a.id < b.id; });
  }
  std::vector<double> sums;
  double sum = 0.0;
  for (const Choice& choice : choices) sums.push_back(sum += choice.weight);
  const auto drawn = std::upper_bound(sums.begin(), sums.end(), random.uniform() * sum);
  return choices[std::min(std::size_t(drawn - sums.begin()), choices.size() - 1)].id;
}

// About normal, with many equal values: `steps` a unit.
std::vector<float> random_logits(std::size_t count, double spread, double steps,
                                 RandomNumbers& random) {
  std::vector<float> logits(count);
  for (float& logit : logits) {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += random.uniform();
    logit = float(std::round(sum * spread * steps) / steps);
  }
  return logits;
}

constexpr SamplingRule kRules[] = {
    {},
    {.temperature = 0.7},
    {.top_k = 1},
    {.top_k = 40},
    {.temperature = 1.3, .top_k = 300},
    {.top_k = 1'000'000},
    {.top_p = 0.95},
    {.top_p = 0.0},
    {.temperature = 0.5, .top_p = 0.5},
    {.top_p = 0.999999},
    {.min_p = 0.05},
    {.min_p = 1.0},
    {.temperature = 2.0, .top_p = 0.9, .min_p = 0.02},
    {.temperature = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05},
    {.temperature = 1e-40, .top_p = 0.9},
    {.temperature = 1e300, .top_p = 0.25, .min_p = 0.5},
};

struct Golden {
  SamplingRule rule;
  std::vector<Choice> kept;  // by id, with probabilities
};

// Of the logits processors of transformers 5 in the order of its generate().
const std::vector<Golden>& golden() {
  static const std::vector<Golden> kGolden = {
      {{.temperature = 1.5, .top_k = 5},
       {{1, 0.17171}, {3, 0.11133}, {6, 0.50562}, {9, 0.07170}, {10, 0.13965}}},
      {{.top_p = 0.9}, {{1, 0.13683}, {3, 0.07143}, {6, 0.69139}, {10, 0.10035}}},
      {{.temperature = 0.7, .top_p = 0.6}, {{6, 1.00000}}},
      {{.temperature = 2.0, .min_p = 0.1},
       {{0, 0.03759},
        {1, 0.15943},
        {3, 0.11520},
        {6, 0.35839},
        {7, 0.04051},
        {9, 0.08282},
        {10, 0.13654},
        {12, 0.06952}}},
      {{.temperature = 1.2, .top_k = 8, .top_p = 0.8, .min_p = 0.12},
       {{1, 0.17763}, {6, 0.68518}, {10, 0.13719}}},
      {{.top_k = 4, .repetition_penalty = 1.8},
       {{3, 0.24426}, {6, 0.28632}, {9, 0.12625}, {10, 0.34317}}},
      {{.temperature = 1.1,
        .top_k = 10,
        .top_p = 0.95,
        .min_p = 0.05,
        .repetition_penalty = 1.3,
        .penalty_window = 3},
       {{1, 0.07988}, {3, 0.08531}, {6, 0.67178}, {9, 0.04682}, {10, 0.11621}}}};
  return kGolden;
}

TEST(Sample, HasAReferenceThatAgreesWithTransformers) {
  const std::vector<float> logits = {0.24F,  3.13F, -2.33F, 2.48F,  -0.65F, -0.65F, 4.75F,  0.39F,
                                     -0.11F, 1.82F, 2.82F,  -0.08F, 1.47F,  -2.43F, -0.92F, -1.1F};
  for (const auto& [rule, kept] : golden()) {
    auto choices = reference_choices(reference_penalised(logits, rule, {6, 5, 5, 1, 12, 2}), rule);
    std::sort(choices.begin(), choices.end(),
              [](const Choice& a, const Choice& b) { return a.id < b.id; });
    double sum = 0.0;
    for (const Choice& choice : choices) sum += choice.weight;
    ASSERT_EQ(choices.size(), kept.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      EXPECT_EQ(choices[i].id, kept[i].id);
      EXPECT_NEAR(choices[i].weight / sum, kept[i].weight, 1e-5);
    }
  }
}

TEST(Sample, DrawsWhatTheReferenceDraws) {
  RandomNumbers random(5, 0);
  for (const std::size_t count : {1u, 2u, 15u, 127u, 128u, 129u, 2000u, 50'000u}) {
    for (const double spread : {0.01, 1.0, 5.0}) {
      const auto logits = random_logits(count, spread, count % 2 == 0 ? 1e4 : 8.0, random);
      for (std::size_t r = 0; r < std::size(kRules); ++r) {
        RandomNumbers ours(count, r);
        RandomNumbers expected(count, r);
        const int draws = count > 2000 ? 3 : 20;
        for (int draw = 0; draw < draws; ++draw) {
          ASSERT_EQ(sample(logits, kRules[r], {}, ours),
                    reference_sample(logits, kRules[r], expected))
              << count << " logits, spread " << spread << ", rule " << r;
        }
      }
    }
  }
}

TEST(Sample, TakesTheFirstOfSeveralLargestWhenGreedy) {
  std::vector<float> logits(1000, -1.0F);
  logits[700] = logits[300] = logits[301] = 2.0F;
  RandomNumbers unused(0, 0);
  EXPECT_EQ(sample(logits, {.temperature = 0}, {}, unused), 300);
}

TEST(Sample, PenalisesEachTokenOfTheWindowOnce) {
  const std::vector<float> logits = {3.0F, 2.9F, 2.0F, -1.0F};
  const std::vector<TokenId> so_far = {1, 0, 3, 0};
  RandomNumbers random(0, 0);
  const auto greedy = [&](double penalty, std::int64_t window) {
    const SamplingRule rule{
        .temperature = 0, .repetition_penalty = penalty, .penalty_window = window};
    return sample(logits, rule, so_far, random);
  };
  EXPECT_EQ(greedy(1.0, 0), 0);
  EXPECT_EQ(greedy(1.4, 0), 0);  // 2.14, 2.07, 2; twice would leave 1.53 of the first
  EXPECT_EQ(greedy(1.4, 3), 1);  // the 2.9 is out of the window
  EXPECT_EQ(greedy(2.0, 0), 2);
  const SamplingRule rule{.repetition_penalty = 1.7, .penalty_window = 2};
  RandomNumbers expected(0, 0);
  for (int draw = 0; draw < 50; ++draw) {
    EXPECT_EQ(sample(logits, rule, so_far, random),
              reference_sample(reference_penalised(logits, rule, so_far), rule, expected));
  }
}

TEST(Sample, BearsExtremeLogitsAndForeignTokens) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kMost = std::numeric_limits<float>::max();
  std::vector<float> logits(300, -kInfinity);
  logits[5] = kMost;
  logits[299] = -kMost;
  const std::vector<TokenId> so_far = {5, 1000, -1};
  RandomNumbers random(0, 0);
  for (SamplingRule rule : kRules) {
    rule.repetition_penalty = 1e-3;
    const TokenId drawn = sample(logits, rule, so_far, random);
    EXPECT_TRUE(drawn == 5 || (rule.temperature > 1e38 && drawn == 299)) << drawn;
  }
}

TEST(SamplingRule, RefusesWhatIsOutOfRange) {
  EXPECT_TRUE(check({}).ok());
  for (const SamplingRule& rule : kRules) EXPECT_TRUE(check(rule).ok());
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const SamplingRule& bad : std::vector<SamplingRule>{{.temperature = -0.1},
                                                           {.temperature = kNan},
                                                           {.temperature = kInfinity},
                                                           {.top_k = -1},
                                                           {.top_p = 1.01},
                                                           {.top_p = kNan},
                                                           {.min_p = -0.5},
                                                           {.min_p = kNan},
                                                           {.repetition_penalty = 0.0},
                                                           {.repetition_penalty = kInfinity},
                                                           {.repetition_penalty = kNan},
                                                           {.penalty_window = -1}}) {
    const Status status = check(bad);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, "sampling/bad-rule");
    EXPECT_EQ(status.error().kind, ErrorKind::usage);
  }
}

}  // namespace
}  // namespace lowbit
