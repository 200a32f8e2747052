// RSQ's token weights: the golden numbers of the rsq sheet, and attention against the plain sum.
#include "methods/token_weights.h"

#include <gtest/gtest.h>

#include "calib/attention.h"

namespace lowbit {
namespace {

bool is_near(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>() < 1e-5; }

TEST(AttentionReceived, Golden) {
  // Scores are the logarithms of the rows wanted: keys are unit vectors.
  const Tensor rows = at::tensor({1.F, 1e-9F, 1e-9F, .6F, .4F, 1e-9F, .5F, .3F, .2F}).view({3, 3});
  const Tensor received =
      attention_received(rows.log().unsqueeze(0), at::eye(3).unsqueeze(0), {.scale = 1.0});
  EXPECT_TRUE(is_near(received, at::tensor({2.1F, .7F, .2F}))) << received;
}

TEST(AttentionReceived, IsTheSumOfWhatAttentionMixes) {
  at::manual_seed(2);
  constexpr std::int64_t kTokens = 304;  // more than one tile of queries
  const Tensor q = at::randn({4, kTokens, kTokens});
  const Tensor k = at::randn({2, kTokens, kTokens});
  const Tensor unit = at::eye(kTokens).repeat({2, 1, 1});
  for (const std::int64_t window : {0, 20}) {
    const AttentionShape shape{.scale = 0.05, .window = window};
    const Tensor mixed = causal_attention(q, k, unit, shape);  // the probabilities
    const Tensor received = attention_received(q, k, shape);
    EXPECT_LT((received - mixed.sum(at::IntArrayRef{0, 1})).abs().max().item<double>(), 1e-3);
    EXPECT_NEAR(received.sum().item<double>(), 4 * kTokens, 0.1);
  }
}

TEST(TokenWeights, Golden) {
  const Tensor weights = weights_of_importance(at::tensor({2.1F, .7F, .2F}), 0.005);
  EXPECT_TRUE(is_near(weights, at::tensor({2.358783F, .629423F, .011794F}))) << weights;
  EXPECT_TRUE(is_near(weights / weights.max(), at::tensor({1.F, .266842F, .005F})));
}

TEST(TokenWeights, AreOnesWhereAllIsAlikeOrNothingIsLeast) {
  EXPECT_TRUE(weights_of_importance(at::full({7}, 0.3F), 0.01).equal(at::ones({7})));
  EXPECT_TRUE(weights_of_importance(at::rand({7}), 1.0).equal(at::ones({7})));
}

TEST(EffectiveTokens, AreAllOfEqualAndOneOfOneHot) {
  EXPECT_NEAR(effective_tokens(at::full({9}, 0.2F)), 9, 1e-5);
  EXPECT_NEAR(effective_tokens(at::tensor({0.F, 5.F, 0.F})), 1, 1e-9);
}

}  // namespace
}  // namespace lowbit
