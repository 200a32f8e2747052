// Static ranges of activations, and FPTQ's choice between them and dynamic ones, over whole runs.
#include "methods/static_range.h"

#include "format/value_grid.h"
#include "format/verify.h"
#include "tiny_run.h"

namespace lowbit {
namespace {

using testing::FaultKind;
using testing::FaultyFileSystem;
using testing::Killed;
using testing::TemporaryFolder;

const std::vector<std::string> kStatic = {"scheme.activations.bits=8",
                                          "scheme.activations.symmetric=true", "learn.epochs=1"};

const ActivationScheme kTensor{.bits = 8, .per = ActivationGranularity::tensor};

std::vector<std::string> with(std::vector<std::string> more) {
  std::vector<std::string> settings = kStatic;
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}

Checkpoint opened(const Path& folder) {
  return Checkpoint::open(real_file_system(), folder).value();
}

// The linears of a block that have static ranges.
int static_linears(const Path& folder, int block) {
  const Checkpoint checkpoint = opened(folder);
  int count = 0;
  for (const std::string& name : checkpoint.names()) {
    const std::string prefix = "model.layers." + std::to_string(block) + ".";
    if (name.starts_with(prefix) && name.ends_with(".input_scale")) ++count;
  }
  return count;
}

TEST(StaticScale, PutsTheLargestValueAtTheEndOfTheCodes) {
  EXPECT_FLOAT_EQ(static_scale(127.5, {.bits = 8}), 1.0F);
  EXPECT_FLOAT_EQ(static_scale(15, {.bits = 4}), 2.0F);
  EXPECT_FLOAT_EQ(static_scale(0, {.bits = 8}), 1e-5F);
  const ActivationScheme nvfp4 = input_scheme(*value_format(WeightFormat::nvfp4));
  EXPECT_FLOAT_EQ(static_scale(6, nvfp4), 448);
  EXPECT_FLOAT_EQ(static_scale(0, nvfp4), 1);
}

TEST(StaticRanges, AreStoredSharedByAnInputAndSound) {
  const TemporaryFolder temporary;
  const Path output = temporary.path() / "out";
  const auto report =
      run(real_file_system(), output, {.settings = with({"scheme.activations.per=tensor"})});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(static_linears(output, 0), 7);
  const auto verified = verify(real_file_system(), output);
  ASSERT_TRUE(verified.ok()) << verified.error().message;
  EXPECT_TRUE(verified->problems.empty());
  const Checkpoint checkpoint = opened(output);
  const auto scale = [&](const std::string& linear) {
    return read_input_scale(checkpoint, "model.layers.0." + linear, kTensor).value();
  };
  EXPECT_EQ(scale("self_attn.q_proj"), scale("self_attn.v_proj"));
  EXPECT_EQ(scale("mlp.gate_proj"), scale("mlp.up_proj"));
  EXPECT_NE(scale("mlp.gate_proj"), scale("mlp.down_proj"));
}

TEST(StaticRanges, TheSchemesClipNarrowsThem) {
  const TemporaryFolder temporary;
  const auto scale = [&](const std::string& clip) {
    const Path output = temporary.path() / clip;
    const auto report = run(
        real_file_system(), output,
        {.settings = with({"scheme.activations.per=tensor", "scheme.activations.clip=" + clip})});
    EXPECT_TRUE(report.ok()) << report.error().message;
    EXPECT_EQ(contents(output).at("config.json").find("clip_ratio"), std::string::npos);
    return read_input_scale(opened(output), "model.layers.0.self_attn.q_proj", kTensor).value();
  };
  EXPECT_FLOAT_EQ(scale("0.5") * 2, scale("1.0"));
}

TEST(StaticRanges, ASearchedClipNarrowsThem) {
  const TemporaryFolder temporary;
  const Path whole = temporary.path() / "whole", clipped = temporary.path() / "clipped";
  std::vector<std::string> settings =
      with({"scheme.activations.per=tensor", "scheme.activations.bits=3", "learn.epochs=0"});
  ASSERT_TRUE(run(real_file_system(), whole, {.settings = settings}).ok());
  settings.emplace_back("range.activation_clip=search");
  ASSERT_TRUE(run(real_file_system(), clipped, {.settings = settings}).ok());
  const std::string linear = "model.layers.0.self_attn.q_proj";
  EXPECT_LT(read_input_scale(opened(clipped), linear, kTensor).value(),
            read_input_scale(opened(whole), linear, kTensor).value());
}

const lowbit::Run kNvfp4{
    .settings = {"scheme.weights.format=nvfp4", "scheme.activations.format=nvfp4"},
    .learns = false};

TEST(Nvfp4Inputs, HaveAGlobalScaleFromTheTextWhichLinearsOfOneInputShare) {
  const TemporaryFolder temporary;
  const Path output = temporary.path() / "out";
  const auto report = run(real_file_system(), output, kNvfp4);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto verified = verify(real_file_system(), output);
  ASSERT_TRUE(verified.ok()) << verified.error().message;
  EXPECT_TRUE(verified->problems.empty());
  const Checkpoint checkpoint = opened(output);
  const auto scale = [&](const std::string& linear) {
    return read_input_scale(checkpoint, "model.layers.0." + linear,
                            input_scheme(*value_format(WeightFormat::nvfp4)))
        .value();
  };
  EXPECT_EQ(scale("self_attn.q_proj"), scale("self_attn.v_proj"));
  EXPECT_EQ(scale("mlp.gate_proj"), scale("mlp.up_proj"));
  EXPECT_NE(scale("mlp.gate_proj"), scale("mlp.down_proj"));
}

class KilledRun : public ::testing::TestWithParam<lowbit::Run> {};

TEST_P(KilledRun, EndsWithTheSameBytesWhereverItIsKilled) {
  const lowbit::Run& how = GetParam();
  const TemporaryFolder temporary;
  FaultyFileSystem counting;
  ASSERT_TRUE(run(counting, temporary.path() / "whole", how).ok());
  const Folder expected = contents(temporary.path() / "whole");
  for (int n = counting.operations() / 4; n <= counting.operations(); n += 7) {
    const Path output = temporary.path() / "killed";
    std::filesystem::remove_all(output);
    FaultyFileSystem files({.kind = FaultKind::kill, .at = n});
    EXPECT_THROW((void)run(files, output, how), Killed) << "operation " << n;
    ASSERT_TRUE(run(real_file_system(), output, how).ok()) << "operation " << n;
    ASSERT_TRUE(contents(output) == expected) << "operation " << n;
  }
}

INSTANTIATE_TEST_SUITE_P(
    StaticRanges, KilledRun,
    ::testing::Values(lowbit::Run{.settings = with({"smooth=fptq", "smooth.dynamic_from=3"})},
                      lowbit::Run{.settings = {"scheme.weights.format=nvfp4",
                                               "scheme.activations.format=nvfp4", "smooth=awq",
                                               "rotate=hadamard", "solve=gptq"},
                                  .learns = false}));

TEST(Fptq, ChoosesByTheLargestInput) {
  const TemporaryFolder temporary;
  const auto count = [&](const std::string& name, const std::vector<std::string>& thresholds) {
    const Path output = temporary.path() / name;
    std::vector<std::string> settings = with({"smooth=fptq"});
    settings.insert(settings.end(), thresholds.begin(), thresholds.end());
    const auto report = run(real_file_system(), output, {.settings = settings});
    EXPECT_TRUE(report.ok()) << report.error().message;
    return static_linears(output, 0);
  };
  EXPECT_EQ(count("plain", {"smooth.plain_below=1000"}), 7);
  EXPECT_EQ(count("dynamic", {"smooth.plain_below=0", "smooth.dynamic_from=0"}), 0);
  EXPECT_EQ(count("between", {"smooth.plain_below=0", "smooth.dynamic_from=1000"}), 7);
  EXPECT_EQ(
      count("norms", {"smooth.plain_below=0", "smooth.dynamic_from=1000", "smooth.linears=false"}),
      5)
      << "the inputs of o and down cannot be divided then";
}

TEST(StaticRanges, AsymmetricOnesAreRefused) {
  const TemporaryFolder temporary;
  const auto report = run(real_file_system(), temporary.path() / "out",
                          {.settings = {"scheme.activations.per=tensor"}});
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, "plan/asymmetric-static");
}

}  // namespace
}  // namespace lowbit
