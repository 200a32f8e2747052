// The published golden values of FRM-PTQ's losses, their gradients, and their invariances.
#include "methods/frm_loss.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lowbit {
namespace {

Tensor rows(std::initializer_list<std::array<double, 3>> values) {
  std::vector<double> flat;
  for (const auto& row : values) flat.insert(flat.end(), row.begin(), row.end());
  return at::tensor(flat, at::kDouble).view({-1, 3});
}

const LearnSpec kRelation{.mse = 0, .token_relation = 1, .sinkhorn = 0};
const LearnSpec kSinkhorn{.mse = 0, .token_relation = 0, .sinkhorn = 1};
const LearnSpec kAll{.mse = 1, .token_relation = 1, .sinkhorn = 1};

FrmLoss loss_of(const Tensor& student, const Tensor& teacher, const LearnSpec& spec) {
  return frm_loss(student, teacher, spec, WithGradient::yes);
}

void expect_row(const Tensor& row, std::array<double, 3> expected, double tolerance) {
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(row[i].item<double>(), expected[static_cast<std::size_t>(i)], tolerance);
  }
}

class GoldenA : public ::testing::Test {
 protected:
  Tensor teacher = rows({{1, 0, 0}, {0, 2, 0}, {0, 0, 3}, {1, 1, 1}});
  Tensor student = rows({{1, .1, 0}, {0, 2, .2}, {.3, 0, 3}, {1, 1.2, 1}});
};

TEST_F(GoldenA, Terms) {
  const LossTerms terms = loss_of(student, teacher, kAll).terms;
  EXPECT_NEAR(terms.token_relation, 0.0034702220, 1e-10);
  EXPECT_NEAR(terms.sinkhorn, 0.0046929848, 1e-10);
  EXPECT_NEAR(terms.mse, 0.015, 1e-12);
  EXPECT_NEAR(terms.total, 0.0034702220 + 0.0046929848 + 0.015, 1e-9);
}

TEST_F(GoldenA, Gradients) {
  expect_row(loss_of(student, teacher, kSinkhorn).gradient[0], {-.00246296, .02462963, 0}, 1e-8);
  expect_row(loss_of(student, teacher, kRelation).gradient[0], {.00127103, -.01271027, -.01160319},
             1e-8);
}

TEST_F(GoldenA, ScheduleHasSevenSteps) {
  const Tensor x = student / student.norm(2, 1, true);
  const Tensor y = teacher / teacher.norm(2, 1, true);
  const double diameter = bounding_diameter(x, y);
  EXPECT_NEAR(diameter * diameter, 3.0, 1e-12);
  EXPECT_EQ(epsilon_schedule(diameter, kSinkhornBlur).size(), 7U);
}

TEST_F(GoldenA, PermutedTokensChangeTheRelationAlone) {
  const Tensor order = at::tensor({2, 0, 3, 1}, at::kLong);
  const LossTerms terms = loss_of(student.index_select(0, order), teacher, kAll).terms;
  EXPECT_NEAR(terms.token_relation, 0.50561351, 1e-8);
  EXPECT_NEAR(terms.sinkhorn, 0.0046929848, 1e-10);
}

class GoldenB : public ::testing::Test {
 protected:
  Tensor teacher = rows({{1, 0, 0}, {1, .1, 0}, {1, 0, .2}, {2, .2, .2}});
  Tensor student = rows({{1, .05, 0}, {1, .1, .1}, {1, -.1, .2}, {2, .3, .1}});
};

TEST_F(GoldenB, Terms) {
  const LossTerms terms = loss_of(student, teacher, kAll).terms;
  EXPECT_NEAR(terms.token_relation, 0.3122927636, 1e-10);
  EXPECT_NEAR(terms.sinkhorn, 0.0014332864, 1e-10);
}

TEST_F(GoldenB, Schedule) {
  const Tensor x = student / student.norm(2, 1, true);
  const Tensor y = teacher / teacher.norm(2, 1, true);
  const auto epsilons = epsilon_schedule(bounding_diameter(x, y), kSinkhornBlur);
  ASSERT_EQ(epsilons.size(), 4U);
  const std::array expected = {.0994351, .0994351, .0248588, .01};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(epsilons[i], expected[i], 1e-7);
}

TEST_F(GoldenB, SinkhornGradientIsThatOfFrozenPotentials) {
  expect_row(loss_of(student, teacher, kSinkhorn).gradient[0], {-.00036213, .00724256, .00353337},
             1e-8);
}

TEST(FrmLoss, IdenticalOutputsHaveNoLossAndNoGradient) {
  at::manual_seed(1);
  const Tensor x = at::randn({40, 24}, at::kDouble);
  const FrmLoss loss = loss_of(x, x.clone(), kAll);
  EXPECT_NEAR(loss.terms.total, 0.0, 1e-12);
  EXPECT_LT(loss.gradient.abs().max().item<double>(), 1e-12);
}

TEST(FrmLoss, RelationGradientEqualsFiniteDifferences) {
  at::manual_seed(2);
  const Tensor teacher = at::randn({12, 6}, at::kDouble);
  const Tensor student = teacher + 0.2 * at::randn({12, 6}, at::kDouble);
  for (const LearnSpec& spec :
       {kRelation, LearnSpec{.mse = 1, .token_relation = 0, .sinkhorn = 0},
        LearnSpec{.mse = 1, .token_relation = 0, .sinkhorn = 0, .normalized_mse = true}}) {
    const Tensor gradient = loss_of(student, teacher, spec).gradient;
    constexpr double kStep = 1e-6;
    for (const auto& [row, column] : {std::pair{0, 0}, std::pair{5, 3}, std::pair{11, 5}}) {
      Tensor up = student.clone();
      Tensor down = student.clone();
      up[row][column] += kStep;
      down[row][column] -= kStep;
      const double slope =
          (loss_of(up, teacher, spec).terms.total - loss_of(down, teacher, spec).terms.total) /
          (2 * kStep);
      EXPECT_NEAR(gradient[row][column].item<double>(), slope, 1e-7);
    }
  }
}

TEST(FrmLoss, RelationTermsDoNotSeeTokenLengthsOrRotations) {
  at::manual_seed(3);
  const Tensor teacher = at::randn({30, 8}, at::kDouble);
  const Tensor student = teacher + 0.1 * at::randn({30, 8}, at::kDouble);
  const LossTerms plain = loss_of(student, teacher, kAll).terms;
  const Tensor lengths = at::rand({30, 1}, at::kDouble) + 0.5;
  const LossTerms scaled = loss_of(student * lengths, teacher, kAll).terms;
  EXPECT_NEAR(scaled.token_relation, plain.token_relation, 1e-10);
  EXPECT_NEAR(scaled.sinkhorn, plain.sinkhorn, 1e-10);
  const Tensor turn = std::get<0>(at::linalg_qr(at::randn({8, 8}, at::kDouble)));
  const LossTerms turned = loss_of(student.matmul(turn), teacher.matmul(turn), kAll).terms;
  EXPECT_NEAR(turned.token_relation, plain.token_relation, 1e-10);
  EXPECT_NEAR(turned.sinkhorn, plain.sinkhorn, 1e-3 * plain.sinkhorn);  // the schedule may differ
}

TEST(FrmLoss, SinkhornOfFarTokensIsTheMeanCost) {
  const Tensor teacher = at::eye(16, at::kDouble);
  at::manual_seed(4);
  const Tensor student = teacher + 0.02 * at::randn({16, 16}, at::kDouble);
  const Tensor unit = student / student.norm(2, 1, true);
  const double mean_cost = (1 - (unit * teacher).sum(1)).mean().item<double>();
  EXPECT_NEAR(loss_of(student, teacher, kSinkhorn).terms.sinkhorn, mean_cost, 1e-6);
}

// The CPU kernels (float32) against the same loss in double, which runs on tensor operations alone;
// odd sizes reach the tails.
TEST(FrmLoss, KernelsAgreeWithTensorOperations) {
  for (const std::int64_t tokens : {3, 16, 77, 300}) {
    at::manual_seed(5);
    const Tensor teacher = at::randn({tokens, 20}, at::kDouble) + 1.0;
    const Tensor student = teacher + 0.2 * at::randn({tokens, 20}, at::kDouble);
    const FrmLoss exact = loss_of(student, teacher, kAll);
    const FrmLoss fast = loss_of(student.to(at::kFloat), teacher.to(at::kFloat), kAll);
    EXPECT_NEAR(fast.terms.sinkhorn, exact.terms.sinkhorn, 2e-6 + 1e-4 * exact.terms.sinkhorn);
    EXPECT_NEAR(fast.terms.token_relation, exact.terms.token_relation,
                1e-5 * exact.terms.token_relation + 1e-9);
    const double scale = exact.gradient.abs().max().item<double>();
    EXPECT_LT((fast.gradient.to(at::kDouble) - exact.gradient).abs().max().item<double>(),
              2e-4 * scale);
  }
}

TEST(FrmLoss, SubsampledTokensGetTheRelationGradientAlone) {
  at::manual_seed(6);
  const Tensor teacher = at::randn({20, 8}, at::kDouble);
  const Tensor student = teacher + 0.1 * at::randn({20, 8}, at::kDouble);
  const Tensor which = at::arange(1, 20, 4, at::kLong);
  const FrmLoss loss = frm_loss(student, teacher, kRelation, WithGradient::yes, which);
  EXPECT_EQ(loss.gradient[0].abs().max().item<double>(), 0.0);
  EXPECT_GT(loss.gradient[1].abs().max().item<double>(), 0.0);
}

}  // namespace
}  // namespace lowbit
