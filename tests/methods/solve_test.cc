// The solve pass on a block of every family: which inputs its solvers see, and what that changes.
#include "methods/solve.h"

#include <gtest/gtest.h>

#include "format/hadamard_matrix.h"
#include "methods/inputs.h"
#include "methods/range.h"
#include "methods/rotate.h"
#include "methods/smooth.h"
#include "methods/token_weights.h"
#include "support/families.h"

namespace lowbit {
namespace {

constexpr std::int64_t kWindows = 4, kTokens = 24;

class SolveOnFamilies : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const Path folder = Path(LOWBIT_SOURCE_DIR) / "tests/data/models" / GetParam();
    const auto checkpoint = Checkpoint::open(real_file_system(), folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    model_ = read_model_spec(checkpoint->config()).value();
    source_ = TorchBlock::load(*checkpoint, *model_, 0, at::kCPU).value();
    const HiddenStream::Shape shape{kWindows, kTokens, model_->hidden};
    for (auto* stream : {&student_, &teacher_}) {
      stream->emplace(HiddenStream::make(shape, "").value());
    }
    at::manual_seed(5);
    const Tensor moved =
        at::eye(model_->hidden) + at::randn({model_->hidden, model_->hidden}) * .03;
    for (std::int64_t w = 0; w < kWindows; ++w) {
      const Tensor states =
          at::randn({kTokens, model_->hidden}) * at::linspace(0.1, 3.0, model_->hidden);
      student_->set(w, states);
      teacher_->set(w, states.matmul(moved));
    }
    for (const LinearSpec* linear : source_->spec().linears()) {
      linears_.push_back({*linear, {.transform = {.hadamard = hadamard_size(linear->in)}}});
      linears_.back().scheme.weight = {.bits = 3, .group_size = 8};
    }
  }

  BlockTask task(TorchBlock& student, const HiddenStream& teacher) {
    return {.student = student,
            .linears = linears_,
            .parameters = std::vector<GroupParameters>(linears_.size()),
            .inputs = *student_,
            .targets = teacher,
            .teacher_inputs = &teacher,
            .train_windows = kWindows,
            .device = at::kCPU,
            .head_dim = model_->head_dim,
            .report = report_,
            .on_step = [](double, const std::string&) { return Status(); }};
  }

  struct Solved {
    TorchBlock student;
    std::vector<Tensor> weights;  // rounded
  };
  Solved solved(const SolveSpec& spec, const HiddenStream& teacher) {
    Solved result{.student = *source_, .weights = {}};
    BlockTask work = task(result.student, teacher);
    EXPECT_TRUE(rotate_pass()(work).ok());
    EXPECT_TRUE(range_pass(RangeMethod::min_max)(work).ok());
    if (spec.method != SolveMethod::nearest) {
      EXPECT_TRUE(solve_pass(spec, RangeMethod::min_max)(work).ok());
    }
    for (std::size_t i = 0; i < linears_.size(); ++i) {
      result.weights.push_back(fake_quant_weight(result.student.weight(i), work.parameters[i],
                                                 linears_[i].scheme.weight));
    }
    return result;
  }

  // Squared error of the rounded block on the student's stream to the float block on the teacher's.
  double block_error(const Solved& block, const HiddenStream& teacher) const {
    const auto products =
        student_products(block.student, linears_, block.weights, Precision::float32);
    double sum = 0;
    for (std::int64_t w = 0; w < kWindows; ++w) {
      const Tensor found = block.student.forward(student_->get(w, at::kCPU), products);
      const Tensor wanted = source_->forward(teacher.get(w, at::kCPU));
      sum += (found - wanted).square().sum().item<double>();
    }
    return sum;
  }

  std::optional<ModelSpec> model_;
  std::optional<TorchBlock> source_;
  std::optional<HiddenStream> student_, teacher_;
  std::vector<PlannedLinear> linears_;
  BlockReport report_;
};

// Smoothed, rotated and with its inputs quantized, the student's linears are asked for what the
// source's linears put out on the float stream, token by token.
TEST_P(SolveOnFamilies, TheFloatStreamsInputsAreInTheStudentsBasis) {
  for (PlannedLinear& linear : linears_) linear.scheme.activation = {.bits = 4};
  TorchBlock student = *source_;
  BlockTask work = task(student, *teacher_);
  const SmoothSpec smooth{.method = SmoothMethod::smoothquant, .alpha = 0.7, .linears = false};
  ASSERT_TRUE(smooth_pass(smooth, RangeMethod::min_max)(work).ok());
  ASSERT_TRUE(rotate_pass()(work).ok());
  InputQuery query = float_query(work, 0, Basis::turned);
  query.linears = linears_;
  query.teacher_weights = query.weights;
  std::map<std::pair<std::size_t, std::int64_t>, Tensor> found;
  std::int64_t window = 0;
  measure_seen(
      work, query,
      [&](const SeenInput& seen) {
        EXPECT_FALSE(seen.x.equal(seen.teacher));
        return Measured{seen.teacher, at::full({1}, seen.window)};
      },
      [&](std::span<const std::size_t> alike, const Measured& measured) {
        window = measured[1].item<std::int64_t>();
        for (const std::size_t linear : alike) found[{linear, window}] = measured[0];
      });
  ASSERT_EQ(found.size(), linears_.size() * kWindows);
  for (std::int64_t w = 0; w < kWindows; ++w) {
    const auto compare = [&](std::span<const std::size_t> which, const Tensor& x) {
      std::vector<Tensor> outputs;
      for (const std::size_t i : which) {
        const Tensor expected = x.matmul(source_->weight(i).t());
        const Tensor asked = found.at({i, w}).matmul(student.weight(i).t());
        EXPECT_LT((asked - expected).abs().max().item<double>(),
                  1e-4 * expected.abs().max().item<double>())
            << "linear " << i << ", window " << w;
        outputs.push_back(at::linear(x, source_->weight(i), source_->bias(i)));
      }
      return outputs;
    };
    (void)source_->forward(teacher_->get(w, at::kCPU), compare);
  }
}

// The first set of a model's first block: both streams are one, and there is nothing to draw from.
TEST_P(SolveOnFamilies, GptaqOnOneStreamBeginsAsGptqToTheBit) {
  const Solved gptq = solved({.method = SolveMethod::gptq}, *student_);
  const Solved gptaq = solved({.method = SolveMethod::gptaq, .asymmetry = 1}, *student_);
  for (const std::size_t i : {0, 1, 2}) {
    EXPECT_TRUE(gptaq.student.weight(i).equal(gptq.student.weight(i))) << i;
  }
  const std::size_t down = linears_.size() - 1;
  EXPECT_FALSE(gptaq.student.weight(down).equal(gptq.student.weight(down)))
      << "rounded linears before it moved its inputs";
}

TEST_P(SolveOnFamilies, GptaqIsNearerToTheFloatStreamsBlock) {
  const auto error_of = [&](const SolveSpec& spec) {
    return block_error(solved(spec, *teacher_), *teacher_);
  };
  const double gptq = error_of({.method = SolveMethod::gptq});
  EXPECT_EQ(error_of({.method = SolveMethod::gptaq, .asymmetry = 0}), gptq);
  EXPECT_LT(error_of({.method = SolveMethod::gptaq, .asymmetry = 1}), gptq);
}

TEST_P(SolveOnFamilies, CoordinateDescentAndPolishLoseLessThanNearest) {
  const auto error_of = [&](const SolveSpec& spec) {
    return block_error(solved(spec, *student_), *student_);
  };
  const double nearest = error_of({});
  EXPECT_LT(error_of({.method = SolveMethod::quantease}), 0.9 * nearest);
  EXPECT_LT(error_of({.method = SolveMethod::gptq, .polish = 2}), 0.9 * nearest);
  EXPECT_LT(error_of({.method = SolveMethod::gptq, .refit = 1}), 0.9 * nearest);
  EXPECT_LT(error_of({.method = SolveMethod::gptq, .refit = 4}), 0.9 * nearest);
}

TEST_P(SolveOnFamilies, TokenWeightsMoveTheErrorToTokensThatCountLess) {
  const auto with = [](double least) {
    return SolveSpec{.method = SolveMethod::gptq,
                     .token_weights = TokenWeights::attention,
                     .least_token_weight = least};
  };
  const Solved plain = solved({.method = SolveMethod::gptq}, *student_);
  const Solved all_alike = solved(with(1), *student_);
  const Solved weighted = solved(with(0.01), *student_);
  for (std::size_t i = 0; i < linears_.size(); ++i) {
    EXPECT_TRUE(all_alike.student.weight(i).equal(plain.student.weight(i))) << i;
  }
  TorchBlock student = *source_;
  BlockTask work = task(student, *student_);
  ASSERT_TRUE(rotate_pass()(work).ok());
  const std::vector<Tensor> weights = attention_weights(work, 0, 0.01);
  // Of q, k and v, whose inputs no solved linear has changed.
  const auto error_of = [&](const Solved& block) {
    double sum = 0;
    InputQuery query = float_query(work, 0, Basis::turned);
    query.wanted = {0, 1, 2};
    measure_seen(
        work, query,
        [&](const SeenInput& seen) {
          Tensor error = at::zeros({1});
          for (const std::size_t i : query.wanted) {
            const Tensor lost = seen.x.matmul((block.weights[i] - student.weight(i)).t());
            const Tensor& w = weights[static_cast<std::size_t>(seen.window)];
            error = error + (lost.square().sum(1) * w).sum();
          }
          return Measured{error};
        },
        [&](std::span<const std::size_t>, const Measured& error) {
          sum += error[0].item<double>();
        });
    return sum;
  };
  EXPECT_LT(error_of(weighted), error_of(plain));
}

INSTANTIATE_TEST_SUITE_P(Families, SolveOnFamilies, testing::family_models(),
                         testing::family_test_name);

}  // namespace
}  // namespace lowbit
