// Passes that change how a block is written down, not what it computes: with all quantizers off, a
// smoothed and rotated student gives the source block's outputs, on every family.
#include <gtest/gtest.h>

#include "calib/student.h"
#include "calib/turn.h"
#include "format/hadamard_matrix.h"
#include "methods/place.h"
#include "methods/rotate.h"
#include "methods/smooth.h"
#include "support/families.h"

namespace lowbit {
namespace {

constexpr std::int64_t kWindows = 3, kTokens = 24;

TEST(SmoothquantScale, IsTheSheetsFormula) {
  const Tensor scale =
      smoothquant_scale(at::tensor({4.F, 9.F, 0.F, 1.F}), at::tensor({1.F, 4.F, 2.F, 0.F}), 0.5);
  EXPECT_NEAR(scale[0].item<double>(), 2.0, 1e-6);
  EXPECT_NEAR(scale[1].item<double>(), 1.5, 1e-6);
  EXPECT_EQ(scale[2].item<double>(), 1.0) << "a channel without input stays as it is";
  EXPECT_NEAR(scale[3].item<double>(), 1.0 / std::sqrt(1e-5), 1e-2);
}

TEST(AwqScale, IsCentredAndOneForDeadChannels) {
  const Tensor scale = awq_scale(at::tensor({4.F, 1.F, 0.F}), 0.5);  // 2 and 1 over sqrt(2)
  EXPECT_NEAR(scale[0].item<double>(), std::sqrt(2.0), 1e-6);
  EXPECT_NEAR(scale[1].item<double>(), std::sqrt(0.5), 1e-6);
  EXPECT_EQ(scale[2].item<double>(), 1.0);
  EXPECT_TRUE(awq_scale(at::tensor({4.F, 1.F, 0.F}), 0.0).equal(at::ones({3})));
}

TEST(FptqScale, IsTheSheetsFormula) {
  const Tensor scale = fptq_scale(at::tensor({14.F, 6.F, 2.F, .5F, 0.F}));
  const std::vector<double> golden = {3.5, 2, 1, .3782, 1};
  for (std::size_t i = 0; i < golden.size(); ++i) {
    EXPECT_NEAR(scale[static_cast<std::int64_t>(i)].item<double>(), golden[i], 1e-4);
  }
}

TEST(Turned, IsOrthogonalAndItsGradientIsTheInverse) {
  at::manual_seed(1);
  for (const std::int64_t width : {64, 96, 40}) {
    const InputTransform transform{.hadamard = hadamard_size(width)};
    const Tensor x = at::randn({5, width}).requires_grad_(true);
    const Tensor y = turned(x, transform);
    EXPECT_LT((y.matmul(y.t()) - x.matmul(x.t())).abs().max().item<double>(), 1e-4) << width;
    y.backward(y.detach());
    EXPECT_LT((x.grad() - x).abs().max().item<double>(), 1e-5) << "H^T H x = x, width " << width;
  }
}

class PassesOnFamilies : public ::testing::TestWithParam<const char*> {
 protected:
  void check(const SmoothSpec& smooth, std::size_t ignored = SIZE_MAX) {
    check(smooth_pass(smooth, RangeMethod::min_max), ignored);
  }
  void check(const BlockPass& pass, std::size_t ignored = SIZE_MAX) {
    const Path folder = Path(LOWBIT_SOURCE_DIR) / "tests/data/models" / GetParam();
    const auto checkpoint = Checkpoint::open(real_file_system(), folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    const auto model = read_model_spec(checkpoint->config());
    ASSERT_TRUE(model.ok());
    const auto block = TorchBlock::load(*checkpoint, *model, 0, at::kCPU);
    ASSERT_TRUE(block.ok());
    auto stream = HiddenStream::make({kWindows, kTokens, model->hidden}, "");
    auto targets = HiddenStream::make({kWindows, kTokens, model->hidden}, "");
    ASSERT_TRUE(stream.ok() && targets.ok());
    at::manual_seed(5);
    for (std::int64_t w = 0; w < kWindows; ++w) {
      stream->set(w, at::randn({kTokens, model->hidden}) * at::linspace(0.1, 3.0, model->hidden));
      targets->set(w, block->forward(stream->get(w, at::kCPU)));
    }
    std::vector<PlannedLinear> linears;
    for (const LinearSpec* linear : block->spec().linears()) {
      linears.push_back({*linear, {.transform = {.hadamard = hadamard_size(linear->in)}}});
      linears.back().scheme.weight.group_size = 8;
      if (ignored != linears.size() - 1) continue;
      linears.back().scheme = {.weight = {.bits = 16}};
    }
    TorchBlock student = *block;
    BlockReport report;
    BlockTask task{.student = student,
                   .linears = linears,
                   .parameters = std::vector<GroupParameters>(linears.size()),
                   .inputs = *stream,
                   .targets = *targets,
                   .train_windows = kWindows,
                   .device = at::kCPU,
                   .head_dim = model->head_dim,
                   .report = report,
                   .on_step = [](double, const std::string&) { return Status(); }};
    ASSERT_TRUE(pass(task).ok());
    ASSERT_TRUE(rotate_pass()(task).ok());
    std::vector<Tensor> weights;
    double moved = 0;
    for (std::size_t i = 0; i < linears.size(); ++i) {
      weights.push_back(student.weight(i));
      moved = std::max(moved, (student.weight(i) - block->weight(i)).abs().max().item<double>());
    }
    EXPECT_GT(moved, 1e-3) << "the passes did nothing";
    if (ignored < linears.size()) {
      EXPECT_TRUE(student.weight(ignored).equal(block->weight(ignored)))
          << "it is stored as the source has it";
    }
    const auto products = student_products(student, linears, weights, Precision::float32);
    const Tensor x = stream->get(1, at::kCPU);
    const Tensor expected = block->forward(x);
    const Tensor found = student.forward(x, products);
    const double scale = expected.abs().max().item<double>();
    EXPECT_LT((found - expected).abs().max().item<double>() / scale, 1e-4);
  }
};

TEST_P(PassesOnFamilies, SmoothQuantAndRotationKeepTheFunction) {
  check({.method = SmoothMethod::smoothquant, .alpha = 0.7});
}

TEST_P(PassesOnFamilies, WhatStaysInFloatIsNotTouched) {
  for (std::size_t linear = 0; linear < 6; ++linear) {  // opt has six
    for (const auto method : {SmoothMethod::smoothquant, SmoothMethod::awq, SmoothMethod::fptq,
                              SmoothMethod::omniquant}) {
      check({.method = method, .plain_below = 0, .dynamic_from = 1e9, .training = {.epochs = 1}},
            linear);
    }
  }
}

TEST_P(PassesOnFamilies, AwqAndRotationKeepTheFunction) { check({.method = SmoothMethod::awq}); }

TEST_P(PassesOnFamilies, AnyScaleAndShiftKeepsTheFunction) {
  int shifted = 0;
  check([&](BlockTask& task) -> Status {
    const BlockSpec& block = task.student.spec();
    for (const auto& places : {norm_places(block), linear_places(block)}) {
      for (const Place& place : places) {
        const std::int64_t in = task.linears[place.consumers.front()].linear.in;
        const Tensor any = at::randn_like(shared(task, place, at::zeros({in})));
        if (takes_shift(task, place)) {
          shift_input(task, place, any);
          ++shifted;
        }
        divide_input(task, place, any.exp());
      }
    }
    return {};
  });
  EXPECT_TRUE(GetParam() != std::string("opt") || shifted == 3) << "two norms, and v";
}

INSTANTIATE_TEST_SUITE_P(Families, PassesOnFamilies, testing::family_models(),
                         testing::family_test_name);

}  // namespace
}  // namespace lowbit
