// Training through the whole model: the loss against its definition, what may change, what the
// packed model gains, and that a kill loses nothing.
#include "methods/tune.h"

#include <cmath>

#include "format/packed_checkpoint.h"
#include "methods/kl_loss.h"
#include "methods/tiny_run.h"
#include "runtime/reference_model.h"

namespace lowbit {
namespace {

using testing::Fault;
using testing::FaultKind;
using testing::FaultyFileSystem;
using testing::Killed;
using testing::TemporaryFolder;

TEST(KlLoss, IsTheDivergenceAndItsGradient) {
  at::manual_seed(1);
  for (const std::int64_t top : {0, 3, 7, 20}) {
    const Tensor source = at::randn({5, 7}) * 2;
    const Tensor student = (source + at::randn({5, 7})).requires_grad_(true);
    const KlLoss found = kl_loss(student, source, top);
    // The definition, one token after the other, of the likeliest alone.
    Tensor expected = at::zeros({});
    for (std::int64_t t = 0; t < 5; ++t) {
      const auto which = source[t].argsort(-1, true).slice(0, 0, top == 0 ? 7 : top);
      const Tensor p = source[t].index_select(0, which).softmax(0);
      const Tensor q = student[t].index_select(0, which).softmax(0);
      expected = expected + (p * (p / q).log()).sum();
    }
    expected.backward();
    EXPECT_NEAR(found.sum, expected.item<double>(), 1e-5) << top;
    EXPECT_TRUE(at::allclose(found.gradient, student.grad(), 1e-4, 1e-6)) << top;
  }
  const Tensor same = at::randn({4, 9});
  EXPECT_NEAR(kl_loss(same, same, 0).sum, 0.0, 1e-6);
}

const std::vector<std::string> kTuned = {"scheme.weights.bits=2", "tune=end-to-end",
                                         "tune.rate.scale=1e-2", "tune.rate.norm=1e-2",
                                         "tune.epochs=6"};

// Mean divergence over some windows of one length.
double divergence(const Path& source_folder, const Path& packed_folder,
                  const std::vector<std::vector<TokenId>>& windows) {
  const auto logits = [&](const Path& folder) {
    const auto model = ReferenceModel::open(real_file_system(), folder).value();
    std::vector<Tensor> all;
    for (const auto& states : model.final_states(windows, {}).value()) {
      const auto values = model.logits(states).value();
      all.push_back(to_tensor(values, {std::ssize(windows.front()), model.spec().vocabulary}));
    }
    return at::cat(all);
  };
  const Tensor packed = logits(packed_folder);
  return kl_loss(packed, logits(source_folder), 0).sum / static_cast<double>(packed.size(0));
}

struct Packed {
  std::vector<std::uint8_t> codes, zeros;
  std::vector<float> scales;
};

Packed packed_linear(const Path& folder) {
  const auto model = ReferenceModel::open(real_file_system(), folder).value();
  const std::string name = "model.layers.1.mlp.down_proj";
  const auto& spec = model.spec();
  const auto weight = read_group_affine(model.checkpoint(), name, spec.hidden, spec.ffn,
                                        model.quantization().find(name)->weight)
                          .value();
  return {.codes = weight.codes, .zeros = weight.zeros, .scales = weight.scales};
}

TEST(Tune, TheReportIsWhatThePackedModelsDo) {
  const auto windows = random_windows(1).train;
  for (const std::string model : {"llama2", "qwen3", "opt"}) {
    for (const std::vector<std::string>& inputs :
         {std::vector<std::string>{"scheme.activations.bits=16"},
          {"scheme.activations.bits=8"},
          {"scheme.activations.bits=4", "range.activation_clip=search"},
          {"scheme.activations.bits=4", "scheme.activations.per=tensor",
           "scheme.activations.symmetric=true"}}) {
      const TemporaryFolder temporary;
      const Path plain = temporary.path() / "plain", tuned = temporary.path() / "tuned";
      std::vector<std::string> settings = {"scheme.weights.bits=2"};
      settings.insert(settings.end(), inputs.begin(), inputs.end());
      ASSERT_TRUE(
          run(real_file_system(), plain, {.settings = settings, .model = model, .validates = false})
              .ok());
      settings.insert(settings.end(), kTuned.begin(), kTuned.end());
      const auto report = run(real_file_system(), tuned,
                              {.settings = settings, .model = model, .validates = false});
      ASSERT_TRUE(report.ok()) << model << ": " << report.error().message;
      ASSERT_TRUE(report->tune.has_value());
      const double before = divergence(kModels / model, plain, windows);
      const double after = divergence(kModels / model, tuned, windows);
      // The largest value of a symmetric range lies between two codes: an order of sums decides.
      const double near = inputs.size() == 3 ? 5e-3 : 1e-3;
      EXPECT_NEAR(report->tune->kl_before, before, near * before) << model;
      EXPECT_NEAR(report->tune->kl_after, after, near * after) << model;
      EXPECT_LT(after, before) << model;
    }
  }
}

TEST(Tune, CodesAndZerosStayAndScalesMove) {
  const TemporaryFolder temporary;
  const Path plain = temporary.path() / "plain", tuned = temporary.path() / "tuned";
  ASSERT_TRUE(run(real_file_system(), plain, {.settings = {"scheme.weights.bits=2"}}).ok());
  ASSERT_TRUE(run(real_file_system(), tuned, {.settings = kTuned}).ok());
  const Packed before = packed_linear(plain), after = packed_linear(tuned);
  EXPECT_EQ(before.codes, after.codes);
  EXPECT_EQ(before.zeros, after.zeros);
  EXPECT_NE(before.scales, after.scales);
}

TEST(Tune, CodesWithARateChangeAndLowerTheDivergence) {
  const TemporaryFolder temporary;
  const Path plain = temporary.path() / "plain", tuned = temporary.path() / "tuned";
  const std::vector<std::string> plainly = {"scheme.weights.bits=2", "scheme.activations.bits=16"};
  std::vector<std::string> settings = plainly;
  settings.insert(settings.end(), {"tune=end-to-end", "tune.rate.scale=0", "tune.rate.norm=0",
                                   "tune.rate.code=5e-2", "tune.epochs=20"});
  ASSERT_TRUE(run(real_file_system(), plain, {.settings = plainly, .validates = false}).ok());
  const auto report = run(real_file_system(), tuned, {.settings = settings, .validates = false});
  ASSERT_TRUE(report.ok()) << report.error().message;
  const Packed before = packed_linear(plain), after = packed_linear(tuned);
  EXPECT_NE(before.codes, after.codes);
  EXPECT_EQ(before.zeros, after.zeros);
  EXPECT_EQ(before.scales, after.scales);
  const auto windows = random_windows(1).train;
  const double found = divergence(kModels / "llama2", tuned, windows);
  EXPECT_NEAR(report->tune->kl_after, found, 1e-3 * found);
  EXPECT_LT(found, 0.9 * divergence(kModels / "llama2", plain, windows));
}

TEST(Tune, KeepsAPartOfAWayThatWentTooFarAndNothingThatIsWorse) {
  int parts = 0;
  for (const char* rate : {"1e-2", "3e-2", "0.1", "0.3", "1"}) {
    const TemporaryFolder temporary;
    const auto report =
        run(real_file_system(), temporary.path() / "out",
            {.settings = {"scheme.weights.bits=2", "tune=end-to-end", "tune.rate.norm=0",
                          std::string("tune.rate.scale=") + rate}});
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_LE(report->tune->kl_after, report->tune->kl_before) << rate;
    for (const std::string& notice : report->tune->notices) {
      parts += notice.find("of its way is kept") != std::string::npos ? 1 : 0;
    }
  }
  EXPECT_GT(parts, 0);
}

TEST(Tune, WithoutRatesTheModelIsWhatItWas) {
  const TemporaryFolder temporary;
  const Path plain = temporary.path() / "plain", tuned = temporary.path() / "tuned";
  const std::vector<std::string> tables = {"scheme.embedding.bits=4",
                                           "scheme.embedding.group_size=16", "scheme.head.bits=8",
                                           "scheme.head.group_size=16"};
  std::vector<std::string> settings = tables;
  settings.insert(settings.end(), {"tune=end-to-end", "tune.rate.scale=0", "tune.rate.norm=0"});
  ASSERT_TRUE(run(real_file_system(), plain, {.settings = tables}).ok());
  const auto report = run(real_file_system(), tuned, {.settings = settings});
  ASSERT_TRUE(report.ok()) << report.error().message;
  const Folder a = contents(plain), b = contents(tuned);
  ASSERT_EQ(a.size(), b.size()) << "drafts stay behind";
  for (const auto& [name, bytes] : a) {
    if (!name.ends_with(".safetensors")) continue;
    EXPECT_TRUE(b.at(name) == bytes) << name;
  }
  EXPECT_NEAR(report->tune->kl_before,
              divergence(kModels / "llama2", plain, random_windows(1).validation),
              1e-3 * report->tune->kl_before)
      << "packed tables";
}

const Run kShortTune{.settings = {"tune=end-to-end", "learn.epochs=0", "scheme.activations.bits=3",
                                  "range.activation_clip=search"}};

TEST(Tune, KilledAtAnyFileOperationEndsWithTheSameBytes) {
  const TemporaryFolder temporary;
  FaultyFileSystem counting;
  ASSERT_TRUE(run(counting, temporary.path() / "whole", kShortTune).ok());
  const Folder expected = contents(temporary.path() / "whole");
  const int half = counting.operations() / 2;  // before it, all is as without this stage
  for (int n = half; n <= counting.operations(); n += 2) {
    const Path output = temporary.path() / "killed";
    std::filesystem::remove_all(output);
    FaultyFileSystem files({.kind = FaultKind::kill, .at = n});
    EXPECT_THROW((void)run(files, output, kShortTune), Killed) << "operation " << n;
    const auto resumed = run(real_file_system(), output, kShortTune);
    ASSERT_TRUE(resumed.ok()) << "operation " << n << ": " << resumed.error().message;
    ASSERT_TRUE(contents(output) == expected) << "operation " << n;
  }
}

TEST(Tune, DraftsOfAStoppedEndDoNotHinderARestart) {
  const TemporaryFolder temporary;
  const Path output = temporary.path() / "out";
  ASSERT_TRUE(run(real_file_system(), output, kShortTune).ok());
  std::ofstream(output / "draft-model-00001-of-00003.safetensors") << "left when power went";
  lowbit::Run other = kShortTune;
  other.text_seed = 2;
  other.restart = true;
  const auto again = run(real_file_system(), output, other);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_FALSE(contents(output).contains("draft-model-00001-of-00003.safetensors"));
}

}  // namespace
}  // namespace lowbit
