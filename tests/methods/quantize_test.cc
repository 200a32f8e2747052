// The whole run on a tiny model: nothing lost after a kill at any file operation, the same bytes
// twice, changed inputs refused by name, and what training must and must not change.
#include "methods/quantize.h"

#include <array>
#include <cmath>

#include "calib/student.h"
#include "format/verify.h"
#include "methods/tiny_run.h"
#include "runtime/embedding.h"
#include "runtime/reference_model.h"

namespace lowbit {
namespace {

using testing::Fault;
using testing::FaultKind;
using testing::FaultyFileSystem;
using testing::Killed;
using testing::TemporaryFolder;

const Run kPackedTables = {.settings = {"scheme.embedding.bits=4", "scheme.embedding.group_size=16",
                                        "scheme.head.bits=8", "scheme.head.group_size=16"}};

const Run kTablesAndClips = {.settings = {"scheme.embedding.bits=4",
                                          "scheme.embedding.group_size=16", "scheme.head.bits=8",
                                          "scheme.head.group_size=16", "scheme.activations.bits=3",
                                          "range.activation_clip=search"}};

TEST(Quantize, KilledAtAnyFileOperationEndsWithTheSameBytes) {
  const TemporaryFolder temporary;
  FaultyFileSystem counting;
  const auto whole = run(counting, temporary.path() / "whole", kTablesAndClips);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  const Folder expected = contents(temporary.path() / "whole");
  ASSERT_TRUE(expected.contains("config.json"));
  EXPECT_NE(expected.at("config.json").find("clip_ratio"), std::string::npos) << "nothing chosen";
  for (const FaultKind kind : {FaultKind::kill, FaultKind::power_cut}) {
    for (int n = 1; n <= counting.operations(); ++n) {
      const Path output = temporary.path() / "killed";
      std::filesystem::remove_all(output);
      FaultyFileSystem files({.kind = kind, .at = n});
      EXPECT_THROW((void)run(files, output, kTablesAndClips), Killed) << "operation " << n;
      const auto resumed = run(real_file_system(), output, kTablesAndClips);
      ASSERT_TRUE(resumed.ok()) << "operation " << n << ": " << resumed.error().message;
      const Folder found = contents(output);
      ASSERT_EQ(found.size(), expected.size()) << "operation " << n;
      for (const auto& [name, bytes] : expected) {
        ASSERT_TRUE(found.at(name) == bytes) << name << " differs after operation " << n;
      }
    }
  }
}

TEST(Quantize, AFullDiskIsAnErrorAndTheRunResumes) {
  const TemporaryFolder temporary;
  FaultyFileSystem counting;
  ASSERT_TRUE(run(counting, temporary.path() / "whole").ok());
  const Folder expected = contents(temporary.path() / "whole");
  for (int n = 1; n <= counting.operations(); n += 3) {
    const Path output = temporary.path() / "full";
    std::filesystem::remove_all(output);
    FaultyFileSystem files({.kind = FaultKind::no_space, .at = n});
    const auto result = run(files, output);
    ASSERT_FALSE(result.ok()) << "operation " << n;
    EXPECT_EQ(result.error().kind, ErrorKind::environment) << result.error().message;
    ASSERT_TRUE(run(real_file_system(), output).ok()) << "operation " << n;
    EXPECT_TRUE(contents(output) == expected) << "operation " << n;
  }
}

TEST(Quantize, TwoRunsGiveTheSameBytesAndAFinishedOneIsLeftAlone) {
  const TemporaryFolder temporary;
  ASSERT_TRUE(run(real_file_system(), temporary.path() / "a").ok());
  ASSERT_TRUE(run(real_file_system(), temporary.path() / "b").ok());
  EXPECT_TRUE(contents(temporary.path() / "a") == contents(temporary.path() / "b"));
  const auto again = run(real_file_system(), temporary.path() / "a");
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_complete);
}

TEST(Quantize, RefusesAChangedInputByName) {
  const TemporaryFolder temporary;
  FaultyFileSystem counting;
  ASSERT_TRUE(run(counting, temporary.path() / "whole").ok());
  const Path output = temporary.path() / "out";
  FaultyFileSystem files({.kind = FaultKind::kill, .at = counting.operations() / 2});
  EXPECT_THROW((void)run(files, output), Killed);
  const auto other_text = run(real_file_system(), output, {.text_seed = 2});
  ASSERT_FALSE(other_text.ok());
  EXPECT_EQ(other_text.error().code, "journal/changed-input");
  EXPECT_NE(other_text.error().message.find("calibration text"), std::string::npos);
  const auto other_option = run(real_file_system(), output, {.settings = {"learn.epochs=2"}});
  ASSERT_FALSE(other_option.ok());
  EXPECT_NE(other_option.error().message.find("epochs"), std::string::npos)
      << other_option.error().message;
  EXPECT_TRUE(run(real_file_system(), output, {.text_seed = 2, .restart = true}).ok());
}

TEST(Quantize, AnotherRunsResultIsReplacedOnlyWhenAsked) {
  const TemporaryFolder temporary;
  const Path output = temporary.path() / "out";
  ASSERT_TRUE(run(real_file_system(), output).ok());
  const auto other = run(real_file_system(), output, {.text_seed = 2});
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, "plan/output-not-empty");
  ASSERT_TRUE(run(real_file_system(), output, {.text_seed = 2, .restart = true}).ok());
}

TEST(Quantize, ForeignFilesAreNotTouched) {
  const TemporaryFolder temporary;
  const Path output = temporary.path() / "out";
  std::filesystem::create_directories(output);
  std::ofstream(output / "thesis.txt") << "ten years of work";
  EXPECT_EQ(run(real_file_system(), output).error().code, "journal/foreign-folder");
  EXPECT_TRUE(std::filesystem::exists(output / "thesis.txt"));
}

TEST(Quantize, NoEpochsEqualRoundToNearest) {
  const TemporaryFolder temporary;
  ASSERT_TRUE(
      run(real_file_system(), temporary.path() / "a", {.settings = {"learn.epochs=0"}}).ok());
  ASSERT_TRUE(run(real_file_system(), temporary.path() / "b",
                  {.settings = {"learn.rate.scale=0", "learn.rate.zero=0"}})
                  .ok());
  const Folder a = contents(temporary.path() / "a");
  const Folder b = contents(temporary.path() / "b");
  const std::string shard = "model-00001-of-00003.safetensors";
  EXPECT_TRUE(a.at(shard) == b.at(shard));
}

// Each kind of parameter by itself.
TEST(Quantize, TrainingLowersTheLossOnItsOwnWindows) {
  for (const std::string trained : {"scale=1e-3", "weight=1e-3", "norm=1e-2"}) {
    const TemporaryFolder temporary;
    const auto report =
        run(real_file_system(), temporary.path() / "a",
            {.settings = {"learn.rate.scale=0", "learn.rate.zero=0", "learn.rate." + trained,
                          "learn.epochs=4", "learn.keep_best=true", "scheme.weights.bits=2"}});
    ASSERT_TRUE(report.ok()) << trained << ": " << report.error().message;
    for (const BlockReport& block : report->blocks) {
      EXPECT_LT(block.loss_after, block.loss_before) << trained << ", block " << block.index;
    }
  }
}

// How far a packed table is from the source's, relative to its mean square.
double relative_error(const ReferenceModel& packed, const std::string& model,
                      const std::string& table) {
  const ModelSpec& spec = packed.spec();
  const Checkpoint source = Checkpoint::open(real_file_system(), kModels / model).value();
  const auto expected = source.floats(table + ".weight", {spec.vocabulary, spec.hidden}).value();
  const auto found = read_group_affine(packed.checkpoint(), table, spec.vocabulary, spec.hidden,
                                       packed.quantization().find(table)->weight)
                         .value()
                         .dequantize();
  double error = 0, power = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    error += std::pow(found[i] - expected[i], 2);
    power += std::pow(expected[i], 2);
  }
  return error / power;
}

TEST(Quantize, PacksEmbeddingAndHeadEachByItsKey) {
  const TemporaryFolder temporary;
  const Path output = temporary.path() / "out";
  ASSERT_TRUE(run(real_file_system(), output, kPackedTables).ok());
  const auto report = verify(real_file_system(), output);
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->ok()) << verify_text(*report);
  const auto model = ReferenceModel::open(real_file_system(), output);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const OrderedJson& written = model->checkpoint().config()["quantization_config"];
  EXPECT_EQ(written["ignore"], OrderedJson::array()) << "the head is quantized";
  EXPECT_FALSE(model->checkpoint().has("lm_head.weight"));
  EXPECT_LT(relative_error(*model, "llama2", "model.embed_tokens"), 1e-2);
  EXPECT_LT(relative_error(*model, "llama2", "lm_head"), 5e-5);
}

TEST(Quantize, PacksATiedTableOnce) {
  const TemporaryFolder temporary;
  const Path output = temporary.path() / "out";
  const auto done = run(real_file_system(), output,
                        {.settings = {"scheme.embedding.bits=8", "scheme.embedding.group_size=16"},
                         .model = "qwen3"});
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_TRUE(verify(real_file_system(), output).value().ok());
  const auto model = ReferenceModel::open(real_file_system(), output);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->checkpoint().config()["quantization_config"]["ignore"],
            OrderedJson::array({"lm_head"}));
  EXPECT_LT(relative_error(*model, "qwen3", "model.embed_tokens"), 5e-5);
}

TEST(Quantize, TheStudentBeginsWithThePackedEmbedding) {
  const TemporaryFolder temporary;
  const auto error_of = [&](const std::string& bits) {
    const auto report =
        run(real_file_system(), temporary.path() / bits,
            {.settings = {"scheme.activations.bits=16", "scheme.weights.bits=8",
                          "scheme.embedding.group_size=16", "scheme.embedding.bits=" + bits}});
    return report.ok() ? report->blocks.front().mse_after : -1.0;
  };
  EXPECT_GT(error_of("2"), 100 * error_of("16"));
}

const std::vector<std::string> kAllPasses = {
    "smooth=awq",    "rotate=hadamard",           "range=importance-search",
    "solve=gptq",    "learn.rate.weight=1e-3",    "learn.rate.norm=1e-3",
    "learn.batch=2", "learn.relative_rates=true", "range.activation_clip=search"};

const Run kPassesOnQwen{.settings = kAllPasses, .model = "qwen2"};

TEST(Quantize, KilledAmongPassesThatChangeNormsEndsWithTheSameBytes) {
  const TemporaryFolder temporary;
  FaultyFileSystem counting;
  const auto whole = run(counting, temporary.path() / "whole", kPassesOnQwen);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  const Folder expected = contents(temporary.path() / "whole");
  const std::string norm = "model.layers.0.input_layernorm.weight";
  const auto gain = [&](const Path& folder) {
    const auto checkpoint = Checkpoint::open(real_file_system(), folder);
    return checkpoint->floats(norm, checkpoint->tensor(norm)->info->shape).value();
  };
  EXPECT_NE(gain(temporary.path() / "whole"), gain(kModels / "qwen2")) << "no pass changed a norm";
  EXPECT_NE(expected.at("config.json").find("transform_config"), std::string::npos);
  for (const int part : {2, 3, 4}) {
    const Path output = temporary.path() / "killed";
    std::filesystem::remove_all(output);
    FaultyFileSystem files({.kind = FaultKind::kill, .at = counting.operations() * part / 5});
    EXPECT_THROW((void)run(files, output, kPassesOnQwen), Killed);
    ASSERT_TRUE(run(real_file_system(), output, kPassesOnQwen).ok());
    EXPECT_TRUE(contents(output) == expected) << "killed after " << part << " fifths";
  }
}

// It looks at the float stream's inputs, which a resumed block does not keep.
const Run kGptaq{.settings = {"learn.epochs=0", "rotate=hadamard", "solve=gptaq",
                              "solve.asymmetry=0.5", "solve.polish=1",
                              "solve.token_weights=attention"}};

void expect_same_bytes_after_kills(const Run& how) {
  const TemporaryFolder temporary;
  FaultyFileSystem counting;
  const auto whole = run(counting, temporary.path() / "whole", how);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  const Folder expected = contents(temporary.path() / "whole");
  for (const int part : {2, 3, 4}) {
    const Path output = temporary.path() / "killed";
    std::filesystem::remove_all(output);
    FaultyFileSystem files({.kind = FaultKind::kill, .at = counting.operations() * part / 5});
    EXPECT_THROW((void)run(files, output, how), Killed);
    ASSERT_TRUE(run(real_file_system(), output, how).ok());
    EXPECT_TRUE(contents(output) == expected) << "killed after " << part << " fifths";
  }
}

TEST(Quantize, KilledWhereASolverSeesTheFloatStreamEndsWithTheSameBytes) {
  expect_same_bytes_after_kills(kGptaq);
}

// Factors are in the block's shard alone, and the drafts' are needed again after the tune pass.
TEST(Quantize, KilledAmongLearnedTransformsEndsWithTheSameBytes) {
  std::vector<std::string> settings = {"smooth=omniquant", "smooth.epochs=2", "rotate=kronecker",
                                       "rotate.epochs=2",  "rotate.batch=2",  "solve=gptaq"};
  expect_same_bytes_after_kills({.settings = settings, .learns = false});
  settings.emplace_back("tune=end-to-end");
  expect_same_bytes_after_kills({.settings = settings, .learns = false});
}

// So are low-rank pairs.
TEST(Quantize, KilledAmongLowRankPairsEndsWithTheSameBytes) {
  expect_same_bytes_after_kills(
      {.settings = {"solve=gptaq", "compensate=low-rank", "compensate.rank=3", "tune=end-to-end"},
       .learns = false});
}

Run of_format(const std::string& format, std::vector<std::string> settings = {}) {
  settings.insert(settings.begin(),
                  {"scheme.weights.format=" + format, "scheme.activations.bits=16"});
  return {.settings = std::move(settings), .learns = false};
}

TEST(Quantize, KilledInAValueFormatEndsWithTheSameBytes) {
  expect_same_bytes_after_kills(of_format(
      "nvfp4", {"smooth=awq", "rotate=hadamard", "range=importance-search", "solve=gptq"}));
}

TEST(Quantize, LinearsThatShareAnInputShareTheScaleOfTheTensor) {
  const TemporaryFolder temporary;
  const Path output = temporary.path() / "out";
  ASSERT_TRUE(run(real_file_system(), output, of_format("nvfp4")).ok());
  EXPECT_TRUE(verify(real_file_system(), output).value().ok());
  const Checkpoint checkpoint = Checkpoint::open(real_file_system(), output).value();
  const auto scale = [&](const std::string& linear) {
    const std::string name = "model.layers.0." + linear + ".weight_global_scale";
    return checkpoint.floats(name, {1}).value().front();
  };
  EXPECT_EQ(scale("self_attn.q_proj"), scale("self_attn.k_proj"));
  EXPECT_EQ(scale("self_attn.q_proj"), scale("self_attn.v_proj"));
  EXPECT_EQ(scale("mlp.gate_proj"), scale("mlp.up_proj"));
  EXPECT_NE(scale("self_attn.q_proj"), scale("self_attn.o_proj"));
}

// On the text that the solver saw: the packed block is the one that passes left.
TEST(Quantize, SolvedCodesOfAValueFormatLoseLess) {
  const TemporaryFolder temporary;
  for (const std::string format : {"nvfp4", "fp8"}) {
    const auto error = [&](const std::string& solve) {
      auto how = of_format(format, {"solve=" + solve});
      how.validates = false;
      const auto report = run(real_file_system(), temporary.path() / (format + solve), how);
      EXPECT_TRUE(report.ok()) << report.error().message;
      return report.ok() ? report->blocks.front().mse_after : 0.0;
    };
    const double nearest = error("nearest");
    EXPECT_GT(nearest, 0);
    EXPECT_LT(error("gptq"), nearest) << format;
  }
}

TEST(Quantize, GptaqWithoutAsymmetryIsGptq) {
  const TemporaryFolder temporary;
  const auto shards = [&](const std::string& solve, const std::string& asymmetry) {
    const Path output = temporary.path() / (solve + asymmetry);
    EXPECT_TRUE(
        run(real_file_system(), output,
            {.settings = {"learn.epochs=0", "solve=" + solve, "solve.asymmetry=" + asymmetry}})
            .ok());
    Folder tensors;
    for (const auto& [name, bytes] : contents(output)) {
      if (name.ends_with(".safetensors")) tensors[name] = bytes;
    }
    return tensors;
  };
  const Folder gptq = shards("gptq", "1");
  EXPECT_TRUE(shards("gptaq", "0") == gptq);
  EXPECT_FALSE(shards("gptaq", "1") == gptq);
}

void expect_packed_is_source(const std::vector<std::string>& passes) {
  for (const std::string model : {"llama2-biases", "qwen2", "qwen3", "opt", "mistral-window"}) {
    const TemporaryFolder temporary;
    std::vector<std::string> settings = passes;
    settings.insert(settings.end(), {"scheme.weights.bits=8", "scheme.activations.bits=16"});
    const auto done =
        run(real_file_system(), temporary.path() / "out", {.settings = settings, .model = model});
    ASSERT_TRUE(done.ok()) << model << ": " << done.error().message;
    EXPECT_TRUE(verify(real_file_system(), temporary.path() / "out").value().ok()) << model;
    const auto states = [&](const Path& folder) {
      auto opened = ReferenceModel::open(real_file_system(), folder);
      EXPECT_TRUE(opened.ok()) << model << ": " << opened.error().message;
      const auto windows = random_windows(3).train;
      const auto found = opened->final_states(windows, {}).value();
      return to_tensor(found.front(), {std::ssize(found.front())});
    };
    const Tensor source = states(kModels / model);
    const Tensor packed = states(temporary.path() / "out");
    const double error =
        ((packed - source).square().mean() / source.square().mean()).item<double>();
    EXPECT_LT(error, 1e-3) << model;
  }
}

// What passes fold into norms, biases and rotations has to be in the files and in the runtime: at 8
// bits the packed model computes what the source does.
TEST(Quantize, PackedAfterAllPassesIsTheSourceModelOnEveryFamily) {
  expect_packed_is_source(kAllPasses);
}

TEST(Quantize, PackedWithLearnedTransformsIsTheSourceModelOnEveryFamily) {
  std::vector<std::string> passes = kAllPasses;
  passes.insert(passes.end(), {"smooth=omniquant", "smooth.rate=2e-2", "smooth.epochs=2",
                               "rotate=kronecker", "rotate.rate=2e-2", "rotate.epochs=2"});
  expect_packed_is_source(passes);
}

double relative_error(const Tensor& found, const Tensor& expected) {
  return ((found - expected).square().mean() / expected.square().mean()).item<double>();
}

// A block of a packed model as the pipeline's student has it.
struct PackedStudent {
  TorchBlock block;
  std::vector<PlannedLinear> linears = {};
  std::vector<Tensor> weights = {};

  TorchBlock::Products products() const {
    return student_products(block, linears, weights, Precision::float32);
  }
};

PackedStudent student_of(const ReferenceModel& model, const Checkpoint& source,
                         std::int64_t index) {
  const Checkpoint& packed = model.checkpoint();
  PackedStudent student{.block = TorchBlock::load(source, model.spec(), index, at::kCPU).value()};
  for (const LinearSpec* linear : student.block.spec().linears()) {
    const auto& [name, out, in, bias] = *linear;
    LinearScheme scheme = *model.quantization().find(name);
    const auto codes = read_group_affine(packed, name, out, in, scheme.weight);
    student.weights.push_back(to_tensor(codes->dequantize(), {out, in}));
    scheme.transform = read_factors(packed, scheme.transform).value();
    scheme.low_rank = read_low_rank(packed, name, scheme.low_rank, out, in).value();
    student.linears.push_back({*linear, scheme});
  }
  return student;
}

// Linear by linear, and the whole stream where no value between two codes may fall to either.
void expect_runtime_is_student(const std::vector<std::string>& settings) {
  const TemporaryFolder temporary;
  const Path output = temporary.path() / "out";
  const auto done =
      run(real_file_system(), output, {.settings = settings, .model = "qwen2", .learns = false});
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_TRUE(verify(real_file_system(), output).value().ok());
  const auto model = ReferenceModel::open(real_file_system(), output).value();
  const Checkpoint source = Checkpoint::open(real_file_system(), kModels / "qwen2").value();
  const auto windows = random_windows(3).train;
  const std::vector<TokenId>& tokens = windows.front();
  const std::int64_t count = std::ssize(tokens), width = model.spec().hidden;
  Tensor stream = to_tensor(model.embedding().rows(tokens, 0).value(), {count, width});
  bool quantized = false;
  at::manual_seed(3);
  for (std::int64_t index = 0; index < model.spec().blocks; ++index) {
    const PackedStudent student = student_of(model, source, index);
    stream = student.block.forward(stream, student.products());
    for (std::size_t i = 0; i < student.linears.size(); ++i) {
      const LinearSpec& linear = student.linears[i].linear;
      const auto loaded = load_linear(model.checkpoint(), linear, model.quantization()).value();
      quantized = quantized || loaded.activation.quantized();
      const Tensor x = at::randn({40, linear.in});
      std::vector<float> y(static_cast<std::size_t>(40 * linear.out));
      apply(loaded, to_floats(x), y);
      const Tensor expected = student.products()(std::array{i}, x).front();
      EXPECT_LT(relative_error(to_tensor(y, {40, linear.out}), expected), 1e-4) << linear.name;
    }
  }
  if (quantized) return;
  const auto gain = source.floats(model.spec().final_norm.name + ".weight", {width}).value();
  const Tensor expected =
      apply_norm(stream, to_tensor(gain, {width}), {}, model.spec().norm_epsilon);
  const auto found = model.final_states(windows, {}).value().front();
  EXPECT_LT(relative_error(to_tensor(found, {count, width}), expected), 1e-8);
}

TEST(Quantize, TheRuntimeTakesLearnedFactorsAsTheStudentDoes) {
  expect_runtime_is_student({"rotate=kronecker", "rotate.rate=2e-2"});
}

TEST(Quantize, TheRuntimeTakesLowRankPairsAsTheStudentDoes) {
  for (const std::string bits : {"4", "16"}) {
    expect_runtime_is_student({"scheme.weights.bits=2", "scheme.activations.bits=" + bits,
                               "rotate=hadamard", "compensate=low-rank", "compensate.rank=4"});
  }
}

// On the text that was looked at: the packed block is the one that the passes left.
TEST(Quantize, LowRankPairsLoseLessAndMoreOfThemLess) {
  const TemporaryFolder temporary;
  int runs = 0;
  for (const std::string solve : {"nearest", "gptaq"}) {
    const auto report = [&](std::vector<std::string> settings) {
      settings.insert(settings.end(), {"scheme.weights.bits=2", "scheme.activations.bits=16",
                                       "solve=" + solve, "solve.refit=1"});
      return run(real_file_system(), temporary.path() / std::to_string(++runs),
                 {.settings = settings, .learns = false, .validates = false})
          .value()
          .blocks.front();
    };
    const BlockReport without = report({});
    EXPECT_TRUE(without.low_rank_shares.empty());
    double last = without.mse_after;
    for (const std::string rank : {"2", "16"}) {
      const BlockReport with = report({"compensate=low-rank", "compensate.rank=" + rank});
      EXPECT_LT(with.mse_after, last) << solve << ", rank " << rank;
      last = with.mse_after;
      EXPECT_EQ(with.low_rank_shares.size(), 7U);
      for (const auto& [linear, share] : with.low_rank_shares) {
        EXPECT_GT(share, 0) << linear;
        EXPECT_LE(share, 1) << linear;
      }
    }
  }
}

TEST(Quantize, TrainingSeesThePairs) {
  const TemporaryFolder temporary;
  const auto report =
      run(real_file_system(), temporary.path() / "out",
          {.settings = {"scheme.weights.bits=2", "scheme.activations.bits=16", "learn.epochs=0",
                        "compensate=low-rank", "learn.full_precision=true"}})
          .value();
  for (const BlockReport& block : report.blocks) {
    EXPECT_NEAR(block.mse_before, block.mse_after, 1e-2 * block.mse_after) << block.index;
  }
}

TEST(Quantize, RoundsOfPairsKeepTheBest) {
  const TemporaryFolder temporary;
  const auto shares = [&](const std::string& rounds) {
    return run(real_file_system(), temporary.path() / rounds,
               {.settings = {"scheme.weights.bits=2", "scheme.activations.bits=16",
                             "compensate=low-rank", "compensate.weighted=false",
                             "compensate.rank=4", "compensate.rounds=" + rounds},
                .learns = false})
        .value()
        .blocks.front()
        .low_rank_shares;
  };
  const auto once = shares("1"), often = shares("6");
  double gained = 0;
  for (const auto& [linear, share] : once) {
    EXPECT_GE(often.at(linear), share) << linear;
    gained += often.at(linear) - share;
  }
  EXPECT_GT(gained, 0);
}

// Chosen clips reach what comes after: the passes, the student's stream, and config.json.
TEST(Quantize, TheClipsThatASearchChoseAreUsedFromThenOn) {
  const TemporaryFolder temporary;
  const auto report_of = [&](const std::string& choice) {
    return run(real_file_system(), temporary.path() / choice,
               {.settings = {"scheme.activations.bits=3", "scheme.weights.bits=8", "learn.epochs=0",
                             "learn.full_precision=true", "range.activation_clip=" + choice}})
        .value();
  };
  const QuantizeReport with = report_of("search"), without = report_of("none");
  const auto model = ReferenceModel::open(real_file_system(), temporary.path() / "search");
  ASSERT_TRUE(model.ok()) << model.error().message;
  for (std::size_t i = 0; i < with.blocks.size(); ++i) {
    const BlockReport& block = with.blocks[i];
    EXPECT_TRUE(without.blocks[i].activations.empty());
    const double gained = without.blocks[i].mse_before - block.mse_before;
    EXPECT_GT(gained, 0) << "not in the passes";
    EXPECT_NEAR(block.mse_after, block.mse_before, 0.2 * gained) << "not in the stream";
    const BlockSpec spec = model->spec().block(block.index);
    const auto linears = spec.linears();
    ASSERT_EQ(block.activations.size(), linears.size());
    EXPECT_LT(block.activations.front().clip, 1);
    for (std::size_t k = 0; k < linears.size(); ++k) {
      EXPECT_EQ(model->quantization().find(linears[k]->name)->activation.clip,
                block.activations[k].clip)
          << linears[k]->name;
    }
  }
  EXPECT_LT(with.blocks.back().mse_after, without.blocks.back().mse_after);
}

TEST(Quantize, AnUnknownDeviceIsAClearError) {
  EXPECT_EQ(find_device("tpu").error().code, "quantize/device");
  EXPECT_EQ(find_device("cuda:x").error().code, "quantize/device");
  EXPECT_EQ(find_device("cuda:99").error().code, "quantize/no-cuda");
}

}  // namespace
}  // namespace lowbit
