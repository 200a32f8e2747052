// Plans of small models: group sizes, sizes on disk, notices, refusals.
#include "recipe/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

#include "format/value_grid.h"
#include "recipe/estimate.h"
#include "recipe/llama_folder.h"

namespace lowbit {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

Recipe recipe_of(const std::string& name) { return load_recipe(real_file_system(), name).value(); }

Plan plan_of(const LlamaFolder& folder, const Recipe& recipe, PlanOptions options = {}) {
  Result<Plan> plan = make_plan(folder.open(), recipe, options);
  EXPECT_TRUE(plan.ok()) << (plan.ok() ? "" : plan.error().message);
  return plan.ok() ? std::move(plan).value() : Plan{};
}

TEST(StoredBits, FollowTheTableOfTheFormat) {
  const LinearSpec linear{.name = "x", .out = 4096, .in = 4096, .bias = false};
  const auto bits = [&](int width, std::int64_t group, bool symmetric) {
    const auto stored =
        static_cast<double>(stored_bits(linear, {width, group, symmetric}, DType::bf16));
    return (stored - 16 * 8) / (4096.0 * 4096.0);
  };
  EXPECT_DOUBLE_EQ(bits(2, 32, true), 2.5);
  EXPECT_DOUBLE_EQ(bits(2, 128, false), 2.140625);
  EXPECT_DOUBLE_EQ(bits(3, 32, false), 3.59375);
  EXPECT_DOUBLE_EQ(bits(3, 256, true), 3.0625);
  EXPECT_DOUBLE_EQ(bits(4, 128, false), 4.15625);
  EXPECT_DOUBLE_EQ(bits(4, 0, true), 4.0 + 16.0 / 4096);
  EXPECT_DOUBLE_EQ(static_cast<double>(stored_bits(linear, {16, 128, false}, DType::bf16)),
                   4096.0 * 4096 * 16);
}

TEST(StoredBits, CountWholeWords) {
  const LinearSpec linear{.name = "x", .out = 5, .in = 24, .bias = false};
  // codes 5 rows x ceil(72 / 32) words, scales 5 x 3 x 16, zeros 3 columns x 1 word, shape 16 bytes
  EXPECT_EQ(stored_bits(linear, {3, 8, false}, DType::bf16),
            5U * 3 * 32 + 5 * 3 * 16 + 3 * 32 + 128);
}

TEST(Plan, GivesEveryLinearTheBaseGroupWhereItFits) {
  const LlamaFolder folder({.blocks = 2, .hidden = 128, .ffn = 256});
  const Plan plan = plan_of(folder, recipe_of("rtn-w4a4"));
  ASSERT_EQ(plan.blocks.size(), 2U);
  EXPECT_THAT(plan.notices, ElementsAre());
  for (const PlannedBlock& block : plan.blocks) {
    ASSERT_EQ(block.linears.size(), 7U);
    for (const PlannedLinear& planned : block.linears) {
      EXPECT_EQ(planned.scheme.weight, (WeightScheme{4, 128, false}));
      EXPECT_EQ(planned.scheme.activation.group_size, 128);
    }
  }
  EXPECT_EQ(plan.quantization().schemes().size(), 14U);
}

TEST(Plan, ShrinksAGroupThatDoesNotDivideAndSaysSoOnce) {
  const LlamaFolder folder({.blocks = 2, .hidden = 384, .ffn = 128});
  Recipe recipe = recipe_of("rtn-w4a4");
  recipe.weights.group_size = 256;
  const Plan plan = plan_of(folder, recipe);
  EXPECT_EQ(plan.blocks[0].linears[0].scheme.weight.group_size, 192);
  EXPECT_EQ(plan.blocks[0].linears[0].scheme.activation.group_size, 192);
  EXPECT_EQ(plan.blocks[0].linears[6].scheme.weight.group_size, 128) << "a whole row";
  EXPECT_THAT(
      plan.notices,
      ElementsAre("group size 256 does not divide 128 inputs: 128 is used for mlp.down_proj of "
                  "blocks 0, 1",
                  "group size 256 does not divide 384 inputs: 192 is used for self_attn.q_proj, "
                  "self_attn.k_proj, self_attn.v_proj, self_attn.o_proj, mlp.gate_proj, "
                  "mlp.up_proj of blocks 0, 1"));
}

TEST(Plan, RefusesARowThatNoGroupDividesAndNamesTheLayer) {
  const LlamaFolder folder({.blocks = 1, .hidden = 64, .ffn = 94});
  Recipe recipe = recipe_of("rtn-w4a16");
  recipe.weights.group_size = 32;
  const Result<Plan> plan = make_plan(folder.open(), recipe, {});
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code, "plan/group-size");
  EXPECT_THAT(plan.error().message,
              AllOf(HasSubstr("model.layers.0.mlp.down_proj"), HasSubstr("94")));
  recipe.weights.group_size = 0;
  EXPECT_TRUE(make_plan(folder.open(), recipe, {}).ok()) << "a whole row is always possible";
}

TEST(Plan, QuantizesActivationsPerTokenWhereAGroupIsAWholeRow) {
  const LlamaFolder folder({.blocks = 1});
  Recipe recipe = recipe_of("rtn-w4a4");
  recipe.weights.group_size = 0;
  const Plan plan = plan_of(folder, recipe);
  EXPECT_EQ(plan.blocks[0].linears[0].scheme.activation.per, ActivationGranularity::token);
}

TEST(Plan, GivesActivationsSmallerGroupsWhereAsked) {
  const LlamaFolder folder({.blocks = 1, .hidden = 384, .ffn = 128});
  Recipe recipe = recipe_of("rtn-w4a4");
  recipe.weights.group_size = 192;
  const auto groups = [&](std::int64_t wanted) {
    recipe.activations.group_size = wanted;
    const Plan plan = plan_of(folder, recipe);
    return std::pair{plan.blocks[0].linears[0].scheme.activation.group_size,
                     plan.blocks[0].linears[6].scheme.activation.group_size};
  };
  EXPECT_EQ(groups(0), std::pair(192L, 128L)) << "the weights'";
  EXPECT_EQ(groups(64), std::pair(64L, 64L));
  EXPECT_EQ(groups(128), std::pair(96L, 128L)) << "a divisor of the weights'";
  EXPECT_EQ(groups(512), std::pair(192L, 128L)) << "never larger";
  recipe.weights.group_size = 0;
  EXPECT_EQ(groups(64), std::pair(64L, 64L)) << "weights of a whole row";
}

TEST(Plan, AllocatesGroupsByKurtosis) {
  const LlamaFolder folder({.blocks = 8, .hidden = 256, .ffn = 256});
  const Plan plan = plan_of(folder, recipe_of("paper/frm-w4a16"));
  std::map<Sensitivity, std::multiset<std::int64_t>> groups;
  for (const PlannedBlock& block : plan.blocks) {
    groups[block.sensitivity].insert(block.linears[0].scheme.weight.group_size);
  }
  EXPECT_THAT(groups[Sensitivity::robust], ElementsAre(256));
  EXPECT_THAT(groups[Sensitivity::moderate], ElementsAre(128, 128, 128, 128, 128, 128));
  EXPECT_THAT(groups[Sensitivity::sensitive], ElementsAre(32));
  EXPECT_THAT(plan.notices, ElementsAre(HasSubstr("8 blocks")));
}

TEST(Plan, LeavesIgnoredLinearsInFloat) {
  const LlamaFolder folder({.blocks = 2, .hidden = 128, .ffn = 128});
  Recipe recipe = recipe_of("rtn-w4a4");
  recipe.ignore = {"lm_head", "down_proj", "model.layers.1.self_attn.q_proj"};
  const Plan plan = plan_of(folder, recipe);
  EXPECT_EQ(plan.quantization().schemes().size(), 11U);
  EXPECT_EQ(plan.quantization().find("model.layers.0.mlp.down_proj"), nullptr);
  EXPECT_EQ(plan.quantization().find("model.layers.1.self_attn.q_proj"), nullptr);
  EXPECT_NE(plan.quantization().find("model.layers.0.self_attn.q_proj"), nullptr);
  EXPECT_GT(plan.bits_per_weight, plan_of(folder, recipe_of("rtn-w4a4")).bits_per_weight + 1);
}

TEST(Plan, GivesLinearsThatShareAnInputOneTransformAndCountsItsFactors) {
  const LlamaFolder folder({.blocks = 1, .hidden = 512, .ffn = 1536});
  Recipe recipe = recipe_of("rtn-w4a4");
  recipe.ignore = {"q_proj"};
  const double plain = plan_of(folder, recipe).bits_per_weight;
  recipe.rotate.method = RotateMethod::kronecker;
  const Plan plan = plan_of(folder, recipe);
  const std::vector<PlannedLinear>& linears = plan.blocks[0].linears;
  EXPECT_FALSE(linears[0].scheme.transform.any()) << "it stays in float";
  EXPECT_EQ(linears[1].scheme.transform, linears[2].scheme.transform);
  EXPECT_EQ(linears[1].scheme.transform.stored_with, linears[1].linear.name);
  EXPECT_EQ(linears[6].scheme.transform.kronecker, (KroneckerSize{48, 32}));
  double weights = 0;
  for (const PlannedLinear& planned : linears) {
    weights += static_cast<double>(planned.linear.out * planned.linear.in);
  }
  const double factors = 3 * (16 * 16 + 32 * 32) + 48 * 48 + 32 * 32;
  EXPECT_NEAR((plan.bits_per_weight - plain) * weights, 16 * factors, 1);
}

TEST(Plan, CountsLowRankPairsAndRefusesARankAboveAWeights) {
  const LlamaFolder folder({.blocks = 1, .hidden = 128, .ffn = 256});
  Recipe recipe = recipe_of("paper/lorc-w4a8");
  const Plan with = plan_of(folder, recipe);
  EXPECT_FALSE(recipe.needs_calibration());
  recipe.compensate = Compensation::none;
  const Plan without = plan_of(folder, recipe);
  double weights = 0, sides = 0;
  for (const PlannedLinear& planned : with.blocks[0].linears) {
    EXPECT_EQ(planned.scheme.low_rank, LowRank{.rank = 8}) << planned.linear.name;
    weights += static_cast<double>(planned.linear.out * planned.linear.in);
    sides += static_cast<double>(planned.linear.out + planned.linear.in);
  }
  EXPECT_NEAR((with.bits_per_weight - without.bits_per_weight) * weights, 16 * 8 * sides, 1);
  EXPECT_GE(with.output_bytes - without.output_bytes, static_cast<std::uint64_t>(2 * 8 * sides));
  EXPECT_GT(with.peak_memory_bytes, without.peak_memory_bytes);
  EXPECT_GT(with.seconds, without.seconds);
  recipe.compensate = Compensation::low_rank;
  recipe.low_rank.weighted = true;
  EXPECT_TRUE(recipe.needs_calibration());
  recipe.low_rank.rank = 129;
  const Result<Plan> refused = make_plan(folder.open(), recipe, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, "plan/rank");
}

TEST(Plan, RefusesToIgnoreWhatIsNotThere) {
  const LlamaFolder folder({.blocks = 1});
  Recipe recipe = recipe_of("rtn-w4a4");
  for (const char* name : {"c_proj", "proj", "model.layers.9", ""}) {
    recipe.ignore = {name};
    const Result<Plan> plan = make_plan(folder.open(), recipe, {});
    ASSERT_FALSE(plan.ok()) << name;
    EXPECT_EQ(plan.error().code, "plan/ignore-unknown");
  }
}

TEST(Plan, RefusesToQuantizeNothing) {
  const LlamaFolder folder({.blocks = 1});
  Recipe recipe = recipe_of("rtn-w4a4");
  recipe.ignore = {"self_attn.q_proj", "model.layers.0"};
  EXPECT_FALSE(make_plan(folder.open(), recipe, {}).ok());
}

TEST(Plan, LeavesEmbeddingAndHeadInFloatUnlessAsked) {
  const LlamaFolder folder({.blocks = 1, .tied = false});
  const Plan plan = plan_of(folder, recipe_of("rtn-w4a16"));
  ASSERT_EQ(plan.tables.size(), 2U);
  EXPECT_FALSE(plan.tables[0].scheme.weight.quantized());
  EXPECT_EQ(plan.tables[1].stored_bytes, 40U * 64 * 2);
  EXPECT_EQ(plan.quantization().find("lm_head"), nullptr);
}

TEST(Plan, QuantizesEmbeddingAndHeadEachByItsKey) {
  const LlamaFolder folder({.blocks = 1, .tied = false});
  Recipe recipe = recipe_of("rtn-w4a16");  // ignores lm_head, as all recipes do
  const std::uint64_t before = plan_of(folder, recipe).output_bytes;
  recipe.embedding = {4, 32, false};
  recipe.head = {8, 32, true};
  recipe.head_activation_bits = 8;
  const Plan plan = plan_of(folder, recipe);
  const QuantizationMap quantization = plan.quantization();
  const LinearScheme* embedding = quantization.find("model.embed_tokens");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->weight, recipe.embedding);
  EXPECT_FALSE(embedding->activation.quantized());
  const LinearScheme* head = quantization.find("lm_head");
  ASSERT_NE(head, nullptr);
  EXPECT_EQ(head->weight, recipe.head);
  EXPECT_EQ(head->activation.bits, 8);
  EXPECT_EQ(head->activation.per, ActivationGranularity::token);
  EXPECT_TRUE(head->activation.symmetric);
  // 40 rows of 64: codes 4 and 8 bits, two scales a row, zero points 2 x 5 words, shape.
  EXPECT_EQ(plan.tables[0].stored_bytes, 40U * 32 + 40 * 2 * 2 + 2 * 5 * 4 + 16);
  EXPECT_EQ(plan.tables[1].stored_bytes, 40U * 64 + 40 * 2 * 2 + 16);
  EXPECT_LT(plan.output_bytes, before - 40 * 64);
}

TEST(Plan, CountsATableOnceWhereTheHeadIsTiedAndSaysSo) {
  const LlamaFolder folder({.blocks = 1});
  Recipe recipe = recipe_of("rtn-w4a16");
  recipe.weights.group_size = 32;
  recipe.embedding = {8, 32, false};
  for (const bool repeated : {false, true}) {
    if (repeated) recipe.head = recipe.embedding;
    const Plan plan = plan_of(folder, recipe);
    ASSERT_EQ(plan.tables.size(), 1U);
    EXPECT_NE(plan.quantization().find("model.embed_tokens"), nullptr);
    EXPECT_THAT(plan.notices,
                testing::Contains(AllOf(HasSubstr("tied"), HasSubstr("W8 g32 asym"))));
  }
}

TEST(Plan, RefusesATiedHeadThatDisagreesWithTheEmbedding) {
  const LlamaFolder folder({.blocks = 1});
  Recipe recipe = recipe_of("rtn-w4a16");
  recipe.embedding = {4, 32, false};
  recipe.head = {8, 32, false};
  const Result<Plan> plan = make_plan(folder.open(), recipe, {});
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code, "plan/tied-head");
  EXPECT_THAT(plan.error().message, AllOf(HasSubstr("W8 g32 asym"), HasSubstr("W4 g32 asym")));
  recipe.head = recipe.embedding;
  recipe.head_activation_bits = 8;
  EXPECT_EQ(make_plan(folder.open(), recipe, {}).error().code, "plan/tied-head");
}

TEST(Plan, RefusesToTrainWhatOverwritesEachOther) {
  const LlamaFolder folder({.blocks = 1});
  Recipe recipe = recipe_of("paper/omniquant-w2a16");
  EXPECT_TRUE(make_plan(folder.open(), recipe, {}).ok());
  recipe.learn[0].scale_rate = 1e-3;
  EXPECT_EQ(make_plan(folder.open(), recipe, {}).error().code, "plan/learn-conflict");
  recipe.learn[0] = {.rounding_rate = 1e-3, .frozen_codes = true};
  EXPECT_EQ(make_plan(folder.open(), recipe, {}).error().code, "plan/learn-conflict");
  recipe.learn[0] = {.rounding_rate = 1e-3, .signed_steps = true};  // scales have a rate
  EXPECT_EQ(make_plan(folder.open(), recipe, {}).error().code, "plan/learn-conflict");
  recipe.learn[0] = {.zero_rate = 0, .weight_rate = 1e-3, .code_rate = 1e-3};
  EXPECT_EQ(make_plan(folder.open(), recipe, {}).error().code, "plan/learn-conflict");
  recipe.learn[0].weight_rate = 0;
  EXPECT_TRUE(make_plan(folder.open(), recipe, {}).ok());
}

TEST(Plan, GivesEveryLinearTheSchemeOfAValueFormat) {
  const LlamaFolder folder({.blocks = 1, .hidden = 128, .ffn = 256});
  for (const ValueFormat& format : value_formats()) {
    const Plan plan = plan_of(folder, recipe_of("rtn-" + std::string(format.name)));
    for (const PlannedLinear& planned : plan.blocks[0].linears) {
      EXPECT_EQ(planned.scheme.weight, format.scheme);
    }
    EXPECT_THAT(plan.notices, ElementsAre());
  }
  EXPECT_NEAR(plan_of(folder, recipe_of("rtn-mxfp4")).bits_per_weight, 4.25, 1e-9);
}

TEST(Plan, RefusesARowThatAValueFormatDoesNotDivide) {
  const LlamaFolder folder({.blocks = 1, .hidden = 48, .ffn = 64});
  EXPECT_TRUE(make_plan(folder.open(), recipe_of("rtn-nvfp4"), {}).ok());
  const Result<Plan> plan = make_plan(folder.open(), recipe_of("rtn-mxfp4"), {});
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code, "plan/group-size");
  EXPECT_THAT(plan.error().message, AllOf(HasSubstr("48"), HasSubstr("32"), HasSubstr("q_proj")));
}

TEST(Plan, RefusesWhatIsThereForIntegersAlone) {
  const LlamaFolder folder({.blocks = 1, .hidden = 128, .ffn = 128});
  for (const char* setting :
       {"scheme.weights.bits=3", "scheme.weights.group_size=32", "scheme.weights.symmetric=false",
        "scheme.activations.bits=8", "scheme.activations.format=fp8", "allocate=kurtosis-groups",
        "range=percentile", "range=hqq", "tune=end-to-end"}) {
    Recipe recipe = recipe_of("rtn-nvfp4");
    ASSERT_TRUE(set_recipe_key(recipe, setting)) << setting;
    const Result<Plan> plan = make_plan(folder.open(), recipe, {});
    ASSERT_FALSE(plan.ok()) << setting;
    EXPECT_EQ(plan.error().code, "plan/value-format") << setting;
    EXPECT_THAT(plan.error().message, HasSubstr("nvfp4")) << setting;
  }
  Recipe learning = recipe_of("frm-w4a16");
  ASSERT_TRUE(set_recipe_key(learning, "scheme.weights.format=nf4"));
  EXPECT_EQ(make_plan(folder.open(), learning, {}).error().code, "plan/value-format");
  Recipe solving = recipe_of("rtn-nvfp4");
  ASSERT_TRUE(set_recipe_key(solving, "solve=gptq"));
  EXPECT_TRUE(make_plan(folder.open(), solving, {}).ok());
  ASSERT_TRUE(set_recipe_key(solving, "solve.refit=1"));
  EXPECT_EQ(make_plan(folder.open(), solving, {}).error().code, "plan/value-format");
}

TEST(Plan, GivesEveryInputTheFormatOfItsWeightAndCountsItsScale) {
  const LlamaFolder folder({.blocks = 1, .hidden = 128, .ffn = 256});
  for (const char* name : {"rtn-nvfp4-w4a4", "rtn-mxfp4-w4a4", "rtn-fp8-w8a8"}) {
    const Plan plan = plan_of(folder, recipe_of(name));
    for (const PlannedLinear& planned : plan.blocks[0].linears) {
      const ValueFormat& format = *value_format(planned.scheme.weight.format);
      EXPECT_EQ(planned.scheme.activation, input_scheme(format));
    }
  }
  const auto bits = [&](const char* name) {
    return plan_of(folder, recipe_of(name)).bits_per_weight;
  };
  EXPECT_EQ(bits("rtn-mxfp4-w4a4"), bits("rtn-mxfp4"));
  double weights = 0;
  const Plan plan = plan_of(folder, recipe_of("rtn-nvfp4"));
  for (const PlannedLinear& planned : plan.blocks[0].linears) {
    weights += static_cast<double>(planned.linear.in * planned.linear.out);
  }
  EXPECT_NEAR(bits("rtn-nvfp4-w4a4") - bits("rtn-nvfp4"), 7 * 32 / weights, 1e-12);
  EXPECT_TRUE(recipe_of("rtn-nvfp4-w4a4").needs_calibration());
  EXPECT_FALSE(recipe_of("rtn-mxfp4-w4a4").needs_calibration());
}

TEST(Plan, RefusesOfInputsInAValueFormatWhatIsThereForIntegers) {
  const LlamaFolder folder({.blocks = 1, .hidden = 128, .ffn = 128});
  for (const char* setting :
       {"scheme.weights.format=mxfp4", "scheme.activations.bits=8", "scheme.activations.per=token",
        "scheme.activations.clip=0.9", "scheme.activations.symmetric=false",
        "range.activation_clip=search", "smooth=fptq", "rotate=kronecker"}) {
    Recipe recipe = recipe_of("rtn-nvfp4-w4a4");
    ASSERT_TRUE(set_recipe_key(recipe, setting)) << setting;
    const Result<Plan> plan = make_plan(folder.open(), recipe, {});
    ASSERT_FALSE(plan.ok()) << setting;
    EXPECT_EQ(plan.error().code, "plan/value-format") << setting;
  }
  Recipe integers = recipe_of("rtn-w4a4");
  ASSERT_TRUE(set_recipe_key(integers, "scheme.activations.format=fp8"));
  EXPECT_EQ(make_plan(folder.open(), integers, {}).error().code, "plan/value-format");
  Recipe weights_alone = recipe_of("rtn-nvfp4-w4a4");
  ASSERT_TRUE(set_recipe_key(weights_alone, "scheme.activations.bits=16"));
  EXPECT_TRUE(make_plan(folder.open(), weights_alone, {}).ok());
  EXPECT_FALSE(weights_alone.needs_calibration());
}

TEST(Plan, RefusesIntegerActivationsOfAFloatHead) {
  const LlamaFolder folder({.blocks = 1, .tied = false});
  Recipe recipe = recipe_of("rtn-w4a16");
  recipe.head_activation_bits = 8;
  EXPECT_EQ(make_plan(folder.open(), recipe, {}).error().code, "plan/float-head");
}

TEST(Plan, FitsTheGroupsOfATableToItsRows) {
  const LlamaFolder folder({.blocks = 1, .hidden = 96, .tied = false});
  Recipe recipe = recipe_of("rtn-w4a16");
  recipe.weights.group_size = 32;
  recipe.head = {8, 64, false};
  EXPECT_THAT(plan_of(folder, recipe).notices,
              ElementsAre("group size 64 does not divide 96 inputs: 48 is used for lm_head"));
  const LlamaFolder odd({.blocks = 1, .hidden = 92, .tied = false});
  recipe.weights.group_size = 0;
  const Result<Plan> refused = make_plan(odd.open(), recipe, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, "plan/group-size");
  EXPECT_THAT(refused.error().message, AllOf(HasSubstr("lm_head"), HasSubstr("scheme.head")));
}

TEST(Plan, CountsTheMemoryOfPackedTables) {
  const LlamaFolder folder({.blocks = 1, .vocabulary = 4000});
  Recipe recipe = recipe_of("rtn-w4a16");
  const std::uint64_t before = plan_of(folder, recipe).peak_memory_bytes;
  recipe.embedding = {8, 32, false};
  EXPECT_GT(plan_of(folder, recipe).peak_memory_bytes, before + 4000 * 64);
}

TEST(Plan, CountsTheFloatStreamsInputsWhereASolverSeesThem) {
  const LlamaFolder folder({.blocks = 2});
  Recipe recipe = recipe_of("paper/gptaq-w3a16");
  recipe.weights.group_size = 32;
  recipe.calibration = {.windows = 100, .length = 128, .validation_windows = 28, .seed = 1};
  const std::uint64_t with = plan_of(folder, recipe, {.streams_on_disk = true}).scratch_disk_bytes;
  recipe.solve.asymmetry = 0;
  const std::uint64_t without =
      plan_of(folder, recipe, {.streams_on_disk = true}).scratch_disk_bytes;
  EXPECT_EQ(with - without, without / 2 * 100 / 128) << "of the training windows alone";
}

TEST(Plan, MovesStreamsFromMemoryToDisk) {
  const LlamaFolder folder({.blocks = 4});
  Recipe recipe = recipe_of("frm-w4a4");
  recipe.calibration = {.windows = 100, .length = 128, .validation_windows = 28, .seed = 1};
  const Plan in_memory = plan_of(folder, recipe);
  const Plan on_disk = plan_of(folder, recipe, {.streams_on_disk = true});
  const std::uint64_t streams = 2ULL * 128 * 128 * 64 * sizeof(float);
  EXPECT_EQ(in_memory.peak_memory_bytes - on_disk.peak_memory_bytes, streams);
  EXPECT_EQ(in_memory.scratch_disk_bytes, 0U);
  EXPECT_EQ(on_disk.scratch_disk_bytes, streams);
}

TEST(Plan, TakesMoreTimeForMoreEpochs) {
  const LlamaFolder folder({.blocks = 4});
  Recipe recipe = recipe_of("frm-w4a4");
  const double one = plan_of(folder, recipe).seconds;
  recipe.learn[0].epochs = 3;
  const double three = plan_of(folder, recipe).seconds;
  EXPECT_GT(three, one * 1.5);
  EXPECT_LT(plan_of(folder, recipe_of("rtn-w4a4")).seconds, one / 100);
}

}  // namespace
}  // namespace lowbit
