// What a pair of a rank takes away from an error (zeroquant-v2-lorc sheet).
#include "methods/low_rank.h"

#include <gtest/gtest.h>

#include "methods/gptq.h"
#include "methods/random_layer.h"

namespace lowbit {
namespace {

// The U of inverse(H) = U^T U, undamped.
Tensor factor_of(const Tensor& hessian) {
  double damping = 0;
  return inverse_factor(hessian, damping);
}

Tensor matrix(const std::vector<float>& values, std::int64_t rows) {
  return to_tensor(values, {rows, std::ssize(values) / rows});
}

double squared(const Tensor& values) { return values.square().sum().item<double>(); }

class LowRankFit : public ::testing::Test {
 protected:
  static constexpr std::int64_t kOut = 24, kIn = 40;
  const testing::Layer layer_ = testing::random_layer(kOut, kIn);
  const Tensor error_ = layer_.weight * 0.01;
};

TEST_F(LowRankFit, OfFullRankTakesAllAway) {
  for (const Tensor& upper : {Tensor(), factor_of(layer_.hessian())}) {
    const FittedPair fitted = fit_low_rank(error_, upper, kOut);
    EXPECT_LT(fitted.after, 1e-6 * fitted.before) << "but for float16";
    EXPECT_LT(squared(error_ - fitted.product), 1e-6 * squared(error_));
  }
}

TEST_F(LowRankFit, LeavesTheTailOfTheSingularValues) {
  const Tensor upper = factor_of(layer_.hessian());
  const Tensor s = at::linalg_inv(upper);
  for (const bool weighted : {false, true}) {
    const Tensor e = error_.to(at::kDouble);
    const auto [u, sigma, v] = at::linalg_svd(weighted ? e.matmul(s) : e, false);
    double last = squared(sigma);
    for (const std::int64_t rank : {1, 2, 5, 12, 24}) {
      const FittedPair fitted = fit_low_rank(error_, weighted ? upper : Tensor(), rank);
      EXPECT_NEAR(fitted.before, squared(sigma), 1e-6 * fitted.before);
      EXPECT_NEAR(fitted.after, squared(sigma.slice(0, rank)), 1e-6 * fitted.before) << rank;
      EXPECT_LT(fitted.after, last);
      last = fitted.after;
    }
  }
}

TEST_F(LowRankFit, IsSplitInBalance) {
  const FittedPair fitted = fit_low_rank(error_, {}, 6);
  const Tensor left = matrix(fitted.pair.left, kOut), right = matrix(fitted.pair.right, 6);
  const auto [u, sigma, v] = at::linalg_svd(error_, false);
  const Tensor expected = sigma.slice(0, 0, 6).diag();
  EXPECT_LT(squared(left.t().matmul(left) - expected), 1e-5 * squared(expected));
  EXPECT_LT(squared(right.matmul(right.t()) - expected), 1e-5 * squared(expected));
  // In the basis of S too, whatever the number of tokens that H sums over.
  const FittedPair weighted = fit_low_rank(error_, factor_of(layer_.hessian() * 1e8), 6);
  const Tensor lengths = matrix(weighted.pair.left, kOut).norm(2, 0);
  EXPECT_LT(squared(lengths - matrix(weighted.pair.right, 6).norm(2, 1)), 1e-5 * squared(lengths));
}

TEST_F(LowRankFit, WeightedLosesLessOfTheOutputs) {
  const auto lost = [&](const Tensor& upper) {
    const Tensor rest = error_ - fit_low_rank(error_, upper, 4).product;
    return squared(layer_.inputs.matmul(rest.t()));
  };
  EXPECT_LT(lost(factor_of(layer_.hessian())), 0.9 * lost({}));
  EXPECT_NEAR(lost(factor_of(at::eye(kIn) * 7)), lost({}), 1e-3 * lost({})) << "H is the identity";
}

TEST_F(LowRankFit, APlantedErrorOfRankOneVanishes) {
  const Tensor planted = at::outer(at::randn({kOut}), at::randn({kIn}));
  for (const Tensor& upper : {Tensor(), factor_of(layer_.hessian())}) {
    const FittedPair fitted = fit_low_rank(planted, upper, 1);
    EXPECT_LT(squared(planted - fitted.product), 1e-6 * squared(planted));
    const FittedPair more = fit_low_rank(planted, upper, 3);  // than there is
    EXPECT_LT(squared(planted - more.product), 1e-6 * squared(planted));
  }
}

TEST_F(LowRankFit, OfNoErrorIsNothing) {
  const FittedPair fitted = fit_low_rank(at::zeros({kOut, kIn}), factor_of(layer_.hessian()), 2);
  EXPECT_EQ(squared(fitted.product), 0);
  EXPECT_EQ(fitted.before, 0);
  EXPECT_EQ(fitted.after, 0);
}

}  // namespace
}  // namespace lowbit
