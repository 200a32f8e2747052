// Learned transforms of inputs: better than where they begin, and nothing to the block's function
// until something is rounded.
#include "methods/learned_transform.h"

#include <gtest/gtest.h>

#include "calib/student.h"
#include "calib/turn.h"
#include "format/hadamard_matrix.h"
#include "kernels/kronecker.h"
#include "methods/block_gradient.h"
#include "methods/kronecker.h"
#include "methods/range.h"
#include "methods/rotate.h"
#include "methods/smooth.h"

namespace lowbit {
namespace {

constexpr std::int64_t kWindows = 4, kTokens = 32;
constexpr TransformTraining kTraining{.rate = 1e-2, .epochs = 30, .batch = 2};

double largest(const Tensor& difference) { return difference.abs().max().item<double>(); }

// [in, in]: what x is multiplied by.
Tensor dense(const KroneckerFactors& factors) {
  const auto [left, right] = factors.size;
  return at::kron(to_tensor(factors.left, {left, left}), to_tensor(factors.right, {right, right}));
}

TEST(Cayley, IsOrthogonalForEveryMatrix) {
  at::manual_seed(1);
  EXPECT_TRUE(cayley(at::zeros({6, 6})).equal(at::eye(6)));
  for (const double size : {0.1, 10.0}) {
    const Tensor p = cayley(at::randn({48, 48}, at::kDouble) * size);
    EXPECT_LT(largest(p.matmul(p.t()) - at::eye(48, at::kDouble)), 1e-9) << size;
  }
}

TEST(TurnedByFactors, IsTheDenseProductAndTheRuntimes) {
  at::manual_seed(2);
  const KroneckerSize size{12, 4};
  const InputTransform transform{
      .kronecker = size,
      .stored_with = "l",
      .factors = std::make_shared<KroneckerFactors>(
          KroneckerFactors{size, to_floats(at::randn({12, 12})), to_floats(at::randn({4, 4}))})};
  const Tensor x = at::randn({5, 48}), weight = at::randn({7, 48});
  const Tensor y = turned(x, transform);
  EXPECT_LT(largest(y - x.matmul(dense(*transform.factors))), 1e-4);
  std::vector<float> rows = to_floats(x);
  kronecker_rows(rows, *transform.factors);
  EXPECT_LT(largest(y - to_tensor(rows, {5, 48})), 1e-4);
  // Not orthogonal at all: the weight takes the inverse.
  const Tensor product =
      y.to(at::kDouble).matmul(turned_weight(weight, transform).to(at::kDouble).t());
  EXPECT_LT(largest(product - x.matmul(weight.t())), 1e-3);
}

class LearnedTransforms : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto checkpoint =
        Checkpoint::open(real_file_system(), Path(LOWBIT_SOURCE_DIR) / "tests/data/models/llama2");
    const auto model = read_model_spec(checkpoint->config()).value();
    block_.emplace(TorchBlock::load(*checkpoint, model, 0, at::kCPU).value());
    for (auto* stream : {&inputs_, &targets_}) {
      stream->emplace(HiddenStream::make({kWindows, kTokens, model.hidden}, "").value());
    }
    at::manual_seed(5);
    const at::NoGradGuard no_gradient;
    for (std::int64_t w = 0; w < kWindows; ++w) {
      // What all channels share is one large value in the basis of a Hadamard matrix.
      inputs_->set(w, at::randn({kTokens, model.hidden}) + 4 * at::randn({kTokens, 1}));
      targets_->set(w, block_->forward(inputs_->get(w, at::kCPU)));
    }
    for (const LinearSet& set : block_->spec().input_sets()) {
      for (const std::size_t i : set) {
        const LinearSpec& linear = *block_->spec().linears()[i];
        const KroneckerSize size = kronecker_size(linear.in);
        linears_.push_back(
            {linear,
             {.weight = {.bits = 4, .group_size = 8},
              .activation = {.bits = 4, .group_size = 8},
              .transform = {.kronecker = size,
                            .stored_with = block_->spec().linears()[set.front()]->name,
                            .factors = hadamard_factors(size)}}});
      }
    }
  }

  BlockTask task(TorchBlock& student, BlockReport& report) {
    return {.student = student,
            .linears = linears_,
            .parameters = std::vector<GroupParameters>(linears_.size()),
            .inputs = *inputs_,
            .targets = *targets_,
            .train_windows = kWindows,
            .device = at::kCPU,
            .head_dim = 12,
            .report = report,
            .on_step = [](double, const std::string&) { return Status(); }};
  }

  // The student after the passes, its weights in the basis of linears_.
  TorchBlock run(const BlockPass& pass) {
    TorchBlock student = *block_;
    BlockReport report;
    BlockTask work = task(student, report);
    EXPECT_TRUE(pass(work).ok());
    EXPECT_TRUE(rotate_pass()(work).ok());
    EXPECT_TRUE(report.notices.empty()) << report.notices.front();
    return student;
  }

  // Over the training windows, with everything rounded.
  double loss(const TorchBlock& student) const {
    const at::NoGradGuard no_gradient;
    std::vector<Tensor> weights;
    for (std::size_t i = 0; i < linears_.size(); ++i) {
      const WeightScheme& scheme = linears_[i].scheme.weight;
      const GroupParameters range = min_max_range(student.weight(i), scheme);
      weights.push_back(fake_quant_weight(student.weight(i), range, scheme));
    }
    const auto products = student_products(student, linears_, weights, Precision::float32);
    double sum = 0;
    for (std::int64_t w = 0; w < kWindows; ++w) {
      const Tensor output = student.forward(inputs_->get(w, at::kCPU), products);
      sum += (output - targets_->get(w, at::kCPU)).square().mean().item<double>();
    }
    return sum;
  }

  std::optional<TorchBlock> block_;
  std::optional<HiddenStream> inputs_, targets_;
  std::vector<PlannedLinear> linears_;
};

TEST_F(LearnedTransforms, LoseLessThanHadamardMatrices) {
  const std::vector<PlannedLinear> start = linears_;
  const double hadamard = loss(run(kronecker_pass({.training = {.epochs = 0}})));
  EXPECT_EQ(linears_.front().scheme, start.front().scheme);
  const double learned = loss(run(kronecker_pass({.training = kTraining})));
  EXPECT_LT(learned, 0.9 * hadamard);
}

TEST_F(LearnedTransforms, AreOrthogonalSharedAndLeaveTheFunction) {
  const TorchBlock student = run(kronecker_pass({.training = kTraining}));
  EXPECT_EQ(linears_[0].scheme.transform.factors, linears_[2].scheme.transform.factors);
  std::vector<Tensor> weights;
  for (std::size_t i = 0; i < linears_.size(); ++i) {
    const Tensor p = dense(*linears_[i].scheme.transform.factors);
    EXPECT_LT(largest(p.matmul(p.t()) - at::eye(p.size(0))), 3e-3) << "of float16";
    EXPECT_FALSE(*linears_[i].scheme.transform.factors ==
                 *hadamard_factors(linears_[i].scheme.transform.kronecker));
    linears_[i].scheme.activation = {};
    weights.push_back(student.weight(i));
  }
  const auto products = student_products(student, linears_, weights, Precision::float32);
  const Tensor x = inputs_->get(1, at::kCPU), expected = targets_->get(1, at::kCPU);
  EXPECT_LT(largest(student.forward(x, products) - expected) / largest(expected), 1e-4);
}

TEST_F(LearnedTransforms, TrainUnderTheWeightsAlone) {
  for (PlannedLinear& linear : linears_) linear.scheme.activation = {};
  const double hadamard = loss(run(kronecker_pass({.training = {.epochs = 0}})));
  EXPECT_LT(loss(run(kronecker_pass({.training = kTraining}))), hadamard);
}

TEST_F(LearnedTransforms, StayAtHadamardMatricesWhereNothingIsWon) {
  const std::vector<PlannedLinear> start = linears_;
  TorchBlock student = *block_;
  BlockReport report;
  BlockTask work = task(student, report);
  ASSERT_TRUE(kronecker_pass({.training = {.rate = 0, .epochs = 1}})(work).ok());
  EXPECT_EQ(linears_.front().scheme, start.front().scheme);
  EXPECT_EQ(report.notices.size(), 1U);
}

class LearnedScales : public LearnedTransforms {
 protected:
  void SetUp() override {
    LearnedTransforms::SetUp();
    const at::NoGradGuard no_gradient;
    const Tensor sizes = at::randn({inputs_->get(0, at::kCPU).size(1)}).exp();
    for (std::int64_t w = 0; w < kWindows; ++w) {
      inputs_->set(w, inputs_->get(w, at::kCPU) * sizes);
      targets_->set(w, block_->forward(inputs_->get(w, at::kCPU)));
    }
    // Rows and tokens, within whose ranges channels have to share.
    for (PlannedLinear& linear : linears_) {
      linear.scheme = {
          .weight = {.bits = 4, .group_size = 0},
          .activation = {.bits = 4, .per = ActivationGranularity::token, .group_size = 0}};
    }
  }

  static BlockPass pass(SmoothMethod method, TransformTraining training = {}) {
    return smooth_pass({.method = method, .training = training}, RangeMethod::min_max);
  }
};

TEST_F(LearnedScales, LoseLessThanAwqs) {
  const double start = loss(run(pass(SmoothMethod::awq)));
  EXPECT_LT(loss(run(pass(SmoothMethod::omniquant, kTraining))), start);
}

TEST_F(LearnedScales, BeginAtAwqs) {
  const TorchBlock start = run(pass(SmoothMethod::awq));
  const TorchBlock same = run(pass(SmoothMethod::omniquant, {.epochs = 0}));
  for (std::size_t i = 0; i < linears_.size(); ++i) {
    EXPECT_TRUE(same.weight(i).equal(start.weight(i))) << linears_[i].linear.name;
  }
}

TEST_F(LearnedScales, LearnInTheBasisOfTheInputsTransforms) {
  for (PlannedLinear& linear : linears_) {
    linear.scheme.transform = {.hadamard = hadamard_size(linear.linear.in)};
  }
  const double start = loss(run(pass(SmoothMethod::awq)));
  EXPECT_LT(loss(run(pass(SmoothMethod::omniquant, kTraining))), start);
}

TEST_F(LearnedScales, StayAtTheStartWhereNothingIsWon) {
  TorchBlock student = *block_;
  BlockReport report;
  BlockTask work = task(student, report);
  ASSERT_TRUE(pass(SmoothMethod::omniquant, {.rate = 0, .epochs = 1})(work).ok());
  EXPECT_EQ(report.notices.size(), 1U);
  const TorchBlock start = run(pass(SmoothMethod::awq));
  EXPECT_TRUE(student.weight(0).equal(start.weight(0)));
}

// With nothing rounded, and the weights as they are, so that scales of inputs change something.
TEST_F(LearnedScales, HaveTheGradientOfFiniteDifferences) {
  const std::int64_t width = block_->spec().linears()[0]->in;
  for (PlannedLinear& linear : linears_) linear.scheme = {.weight = {.bits = 16}};
  GradientQuery query{.linears = linears_, .weights = {}, .gains = {}};
  query.input_of = [](std::size_t linear, const Tensor& x, const Tensors& parts) {
    return linear < 3 ? x / parts[0] : x;
  };
  Tensors weights;
  for (std::size_t i = 0; i < linears_.size(); ++i) weights.push_back(block_->weight(i));
  const Tensor x = inputs_->get(0, at::kCPU);
  const auto loss_at = [&](const Tensor& logarithms) {
    query.parts = {logarithms.exp()};
    Tensor output;
    (void)block_gradient(*block_, query, weights, x, [&](const Tensor& found) {
      output = found;
      return Tensor();
    });
    return output.to(at::kDouble).square().mean().item<double>();
  };
  query.parts = {at::ones({width})};
  const Tensor gradient = block_gradient(*block_, query, weights, x, [](const Tensor& output) {
                            return output * (2.0 / static_cast<double>(output.numel()));
                          }).parts[0];
  for (const std::int64_t channel : {0, 5, 17}) {
    Tensor step = at::zeros({width});
    step[channel] = 1e-2;
    const double difference = (loss_at(step) - loss_at(-step)) / 2e-2;
    EXPECT_NEAR(gradient[channel].item<double>(), difference,
                1e-2 * gradient.abs().max().item<double>());
  }
}

}  // namespace
}  // namespace lowbit
