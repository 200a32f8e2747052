// Recipe files: what is read, what is refused, and that to_toml says the same again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/value_grid.h"
#include "recipe/recipe.h"

namespace lowbit {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kMinimal = R"(name = "x"
[scheme]
weights = { bits = 3 }
)";

Recipe parsed(const std::string& toml) {
  Result<Recipe> recipe = parse_recipe(toml, "x.toml");
  EXPECT_TRUE(recipe.ok()) << (recipe.ok() ? "" : recipe.error().message);
  return recipe.ok() ? std::move(recipe).value() : Recipe{};
}

Error refused(const std::string& toml) {
  const Result<Recipe> recipe = parse_recipe(toml, "x.toml");
  EXPECT_FALSE(recipe.ok()) << toml;
  return recipe.ok() ? Error{} : recipe.error();
}

TEST(RecipeFile, FillsWhatIsNotSaidWithDefaults) {
  const Recipe recipe = parsed(kMinimal);
  EXPECT_EQ(recipe.name, "x");
  EXPECT_EQ(recipe.weights.bits, 3);
  EXPECT_EQ(recipe.weights.group_size, 128);
  EXPECT_FALSE(recipe.activations.quantized());
  EXPECT_EQ(recipe.allocate, "uniform");
  EXPECT_FALSE(recipe.needs_calibration());
}

TEST(RecipeFile, ReadsEveryPassWithItsKeys) {
  const Recipe recipe = parsed(std::string(kMinimal) + R"(
[[pass]]
use = "allocate.kurtosis-groups"
sensitive = 16
[[pass]]
use = "range.mse-search"
[[pass]]
use = "learn.block"
train = ["scale"]
rate = { scale = 1e-3 }
loss = { mse = 2, token_relation = 0.5, sinkhorn = 0 }
epochs = 3
keep_best = true
[[pass]]
use = "learn.block"
)");
  EXPECT_EQ(recipe.allocate, "kurtosis-groups");
  EXPECT_EQ(recipe.sensitive_group_size, 16);
  EXPECT_EQ(recipe.robust_group_size, 256);
  EXPECT_EQ(recipe.range, RangeMethod::mse_search);
  ASSERT_EQ(recipe.learn.size(), 2U);
  EXPECT_EQ(recipe.learn[0].epochs, 3);
  EXPECT_EQ(recipe.learn[0].scale_rate, 1e-3);
  EXPECT_EQ(recipe.learn[0].zero_rate, 0) << "zero is not in train";
  EXPECT_EQ(recipe.learn[0].mse, 2);
  EXPECT_EQ(recipe.learn[0].token_relation, 0.5);
  EXPECT_EQ(recipe.learn[0].sinkhorn, 0);
  EXPECT_TRUE(recipe.learn[0].keep_best);
  EXPECT_EQ(recipe.learn[1].zero_rate, LearnSpec{}.zero_rate);
}

TEST(RecipeFile, LeavesEmbeddingAndHeadInFloatUnlessToldOtherwise) {
  const Recipe silent = parsed(kMinimal);
  EXPECT_FALSE(silent.embedding.quantized());
  EXPECT_FALSE(silent.head.quantized());
  EXPECT_EQ(silent.head_activation_bits, 16);
  const Recipe recipe = parsed(std::string(kMinimal) + R"(
embedding = { bits = 4, group_size = 32, symmetric = true }
head = { bits = 8, activation_bits = 8 }
)");
  EXPECT_EQ(recipe.embedding, (WeightScheme{4, 32, true}));
  EXPECT_EQ(recipe.head, (WeightScheme{8, 128, false}));
  EXPECT_EQ(recipe.head_activation_bits, 8);
}

TEST(RecipeFile, AValueFormatBringsItsBitsAndGroups) {
  const auto with = [](const std::string& weights) {
    return parse_recipe("name = \"x\"\n[scheme]\nweights = { " + weights + " }\n", "x.toml");
  };
  for (const ValueFormat& format : value_formats()) {
    const Result<Recipe> recipe = with("format = \"" + std::string(format.name) + "\"");
    ASSERT_TRUE(recipe.ok()) << recipe.error().message;
    EXPECT_EQ(recipe->weights, format.scheme);
  }
  const Recipe inputs = with("format = \"nvfp4\" }\nactivations = { format = \"nvfp4\"").value();
  EXPECT_EQ(inputs.activations, input_scheme(*value_format(WeightFormat::nvfp4)));
  EXPECT_EQ(parsed(to_toml(inputs)).activations, inputs.activations);
  EXPECT_EQ(with("bits = 4 }\nactivations = { format = \"nf4\"").error().code, "recipe/bad-value");
  EXPECT_EQ(with("format = \"integer\", bits = 3").value().weights.bits, 3);
  EXPECT_EQ(with("format = \"integer\"").error().code, "recipe/missing-key");
  const Result<Recipe> unknown = with("format = \"fp5\"");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, "recipe/bad-value");
  EXPECT_THAT(unknown.error().message, HasSubstr("nvfp4"));
}

TEST(RecipeFile, KeepsKeysAndValuesInFloat16UnlessToldOtherwise) {
  EXPECT_EQ(parsed(kMinimal).kv_cache, KvType::f16);
  for (const KvType type : {KvType::f16, KvType::int8, KvType::int4}) {
    const std::string line = "kv_cache = \"" + std::string(name_of(type)) + "\"\n";
    const Recipe recipe = parsed(kMinimal + line);
    EXPECT_EQ(recipe.kv_cache, type);
    EXPECT_EQ(parsed(to_toml(recipe)).kv_cache, type);
  }
  for (const char* value : {R"("f32")", R"("int3")", "4"}) {
    const Error error = refused(std::string(kMinimal) + "kv_cache = " + value + "\n");
    EXPECT_EQ(error.code, "recipe/bad-value") << value;
    EXPECT_THAT(error.message, HasSubstr(R"("f16", "int8" or "int4")"));
  }
}

TEST(RecipeFile, RefusesUnknownAndBadKeysOfEmbeddingAndHead) {
  const auto with = [](const std::string& line) { return refused(kMinimal + line + "\n"); };
  EXPECT_EQ(with("embedding = { bits = 9 }").code, "recipe/bad-value");
  EXPECT_EQ(with("embedding = { bits = 1 }").code, "recipe/bad-value");
  EXPECT_EQ(with("head = { group_size = 12 }").code, "recipe/bad-value");
  EXPECT_EQ(with("head = { activation_bits = 32 }").code, "recipe/bad-value");
  EXPECT_EQ(with("head = 8").code, "recipe/unknown-key");
  const Error error = with("embedding = { activation_bits = 8 }");
  EXPECT_EQ(error.code, "recipe/unknown-key");
  EXPECT_THAT(error.message, AllOf(HasSubstr("x.toml:4"), HasSubstr("scheme.embedding.bits")));
}

TEST(RecipeFile, EveryRangeMethodMayChooseClips) {
  for (const char* method : {"min-max", "mse-search", "importance-search", "percentile", "hqq"}) {
    const std::string pass = std::string("[[pass]]\nuse = \"range.") + method + "\"\n";
    EXPECT_EQ(parsed(kMinimal + pass).activation_clip, ClipChoice::none);
    Recipe recipe = parsed(kMinimal + pass + "activation_clip = \"search\"\n");
    EXPECT_EQ(recipe.activation_clip, ClipChoice::search) << method;
    EXPECT_EQ(parsed(to_toml(recipe)).activation_clip, ClipChoice::search) << method;
  }
}

TEST(RecipeFile, RangesOfWeightsAloneNeedNoText) {
  for (const auto& [name, method] : {std::pair{"mse-search", RangeMethod::mse_search},
                                     {"percentile", RangeMethod::percentile},
                                     {"hqq", RangeMethod::hqq}}) {
    const Recipe recipe =
        parsed(std::string(kMinimal) + "[[pass]]\nuse = \"range." + name + "\"\n");
    EXPECT_EQ(recipe.range, method) << name;
    EXPECT_FALSE(recipe.needs_calibration()) << name;
    EXPECT_EQ(parsed(to_toml(recipe)).range, method) << name;
  }
}

TEST(RecipeFile, ClipsAreSearchedOnTextWhereThereAreActivationsToClip) {
  Recipe recipe = parsed(std::string(kMinimal) + R"([[pass]]
use = "range.min-max"
activation_clip = "search"
)");
  EXPECT_FALSE(recipe.needs_calibration());
  recipe.activations.bits = 4;
  EXPECT_TRUE(recipe.needs_calibration());
}

TEST(RecipeFile, NamesLineAndKeysOfAnUnknownKey) {
  const Error error = refused(std::string(kMinimal) + "[calibration]\nwindow = 4\n");
  EXPECT_EQ(error.code, "recipe/unknown-key");
  EXPECT_EQ(error.kind, ErrorKind::usage);
  EXPECT_THAT(error.message, AllOf(HasSubstr("x.toml:5"), HasSubstr("'calibration.window'"),
                                   HasSubstr("calibration.windows")));
}

TEST(RecipeFile, NamesLineAndKeysOfAnUnknownLearnKey) {
  const Error error =
      refused(std::string(kMinimal) + "[[pass]]\nuse = \"learn.block\"\nrate = { scales = 1 }\n");
  EXPECT_EQ(error.code, "recipe/unknown-key");
  EXPECT_THAT(error.message,
              AllOf(HasSubstr("x.toml:6"), HasSubstr("'rate.scales'"), HasSubstr("rate.scale,")));
}

TEST(RecipeFile, RefusesKeysOfAPassThatHasNone) {
  const Error error =
      refused(std::string(kMinimal) + "[[pass]]\nuse = \"rotate.hadamard\"\nsteps = 3\n");
  EXPECT_EQ(error.code, "recipe/unknown-key");
}

TEST(RecipeFile, SaysWhatAValueMayBe) {
  const Error error = refused("name = \"x\"\n[scheme]\nweights = { bits = 9 }\n");
  EXPECT_EQ(error.code, "recipe/bad-value");
  EXPECT_THAT(error.message, AllOf(HasSubstr("x.toml:3"), HasSubstr("is 9"), HasSubstr("2 to 8")));
}

TEST(RecipeFile, RefusesValuesOfAnotherType) {
  const std::string head = "name = \"x\"\n[scheme]\n";
  EXPECT_EQ(refused(head + "weights = { bits = 4.0 }").code, "recipe/bad-value");
  EXPECT_EQ(refused(head + "weights = { bits = \"4\" }").code, "recipe/bad-value");
  EXPECT_EQ(refused(head + "weights = { bits = 1979-05-27 }").code, "recipe/bad-value");
  EXPECT_EQ(refused(head + "weights = { bits = 4, group_size = 12 }").code, "recipe/bad-value");
  EXPECT_EQ(refused(head + "weights = { bits = 4, group_size = -1 }").code, "recipe/bad-value");
  EXPECT_EQ(refused(head + "weights = { bits = 4 }\nignore = [1]").code, "recipe/bad-value");
  EXPECT_EQ(refused(head + "weights = { bits = 4 }\nactivations = { dynamic = false }").code,
            "recipe/bad-value");
  EXPECT_EQ(refused("pass = 3\n" + std::string(kMinimal)).code, "recipe/bad-value");
  EXPECT_EQ(refused("pass = [3]\n" + std::string(kMinimal)).code, "recipe/bad-value");
}

TEST(RecipeFile, RefusesRatesAndLossesThatAreNoFiniteNumbers) {
  for (const char* value : {"nan", "inf", "-1.0", "true"}) {
    const Error error =
        refused(std::string(kMinimal) + "[[pass]]\nuse = \"learn.block\"\nloss = { mse = " + value +
                " }\n");
    EXPECT_EQ(error.code, "recipe/bad-value") << value;
  }
}

TEST(RecipeFile, RefusesTrainingWithoutARate) {
  const Error error =
      refused(std::string(kMinimal) +
              "[[pass]]\nuse = \"learn.block\"\ntrain = [\"zero\"]\nrate = { zero = 0 }");
  EXPECT_EQ(error.code, "recipe/bad-value");
}

TEST(RecipeFile, RefusesUnknownPassesAndListsThem) {
  const Error error = refused(std::string(kMinimal) + "[[pass]]\nuse = \"learn.weights\"\n");
  EXPECT_EQ(error.code, "recipe/unknown-pass");
  EXPECT_THAT(error.message, AllOf(HasSubstr("x.toml:5"), HasSubstr("range.mse-search")));
  EXPECT_EQ(refused(std::string(kMinimal) + "[[pass]]\nuse = 3\n").code, "recipe/unknown-pass");
  EXPECT_EQ(refused(std::string(kMinimal) + "[[pass]]\n").code, "recipe/missing-key");
}

TEST(RecipeFile, RefusesPassesOutOfOrderOrTwice) {
  const std::string range = "[[pass]]\nuse = \"range.min-max\"\n";
  const std::string allocate = "[[pass]]\nuse = \"allocate.uniform\"\n";
  EXPECT_EQ(refused(kMinimal + range + allocate).code, "recipe/bad-value");
  EXPECT_EQ(refused(kMinimal + range + range).code, "recipe/bad-value");
}

TEST(RecipeFile, RefusesWhatIsNotToml) {
  const Error error = refused("name = \"x\"\n[scheme\n");
  EXPECT_EQ(error.code, "recipe/syntax");
  EXPECT_THAT(error.message, HasSubstr("x.toml:2"));
  EXPECT_EQ(refused("name = \"x\"\nname = \"y\"\n").code, "recipe/syntax");
}

TEST(RecipeFile, RefusesMissingKeys) {
  EXPECT_EQ(refused("name = \"x\"\n").code, "recipe/missing-key");
  EXPECT_EQ(refused("[scheme]\nweights = { bits = 4 }\n").code, "recipe/missing-key");
}

TEST(RecipeFile, SurvivesDeepNesting) {
  const std::string deep = "name = " + std::string(100000, '[');
  EXPECT_EQ(refused(deep).code, "recipe/syntax");
}

class BuiltInRecipe : public testing::TestWithParam<std::string> {};

TEST_P(BuiltInRecipe, ParsesUnderItsOwnName) {
  const Result<Recipe> recipe = load_recipe(real_file_system(), GetParam());
  ASSERT_TRUE(recipe.ok()) << recipe.error().message;
  EXPECT_EQ(recipe->name, GetParam());
}

TEST_P(BuiltInRecipe, IsTheSameAfterWritingAndReading) {
  const Result<Recipe> recipe = load_recipe(real_file_system(), GetParam());
  ASSERT_TRUE(recipe.ok());
  const std::string text = to_toml(*recipe);
  const Result<Recipe> again = parse_recipe(text, "again");
  ASSERT_TRUE(again.ok()) << again.error().message << "\n" << text;
  EXPECT_EQ(to_toml(*again), text);
}

INSTANTIATE_TEST_SUITE_P(All, BuiltInRecipe, testing::ValuesIn(built_in_recipes()),
                         [](const testing::TestParamInfo<std::string>& param) {
                           std::string name = param.param;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return c == '-' || c == '/'; }, '_');
                           return name;
                         });

TEST(RecipeFile, WritesWhatWasChanged) {
  Recipe recipe = parsed(kMinimal);
  recipe.name = "quote \" and \\ and \n";
  recipe.ignore = {"a", "b"};
  recipe.embedding = {8, 0, true};
  recipe.head = {5, 64, false};
  recipe.head_activation_bits = 8;
  recipe.learn.push_back({.epochs = 7, .scale_rate = 0, .sinkhorn = 0.125, .relation_tokens = 256});
  recipe.calibration.seed = INT64_MAX;
  const Recipe again = parsed(to_toml(recipe));
  EXPECT_EQ(again.name, recipe.name);
  EXPECT_EQ(again.ignore, recipe.ignore);
  EXPECT_EQ(again.embedding, recipe.embedding);
  EXPECT_EQ(again.head, recipe.head);
  EXPECT_EQ(again.head_activation_bits, 8);
  EXPECT_EQ(again.calibration.seed, INT64_MAX);
  ASSERT_EQ(again.learn.size(), 1U);
  EXPECT_EQ(again.learn[0].epochs, 7);
  EXPECT_EQ(again.learn[0].scale_rate, 0);
  EXPECT_EQ(again.learn[0].zero_rate, 2e-5);
  EXPECT_EQ(again.learn[0].sinkhorn, 0.125);
  EXPECT_EQ(again.learn[0].relation_tokens, 256);
}

TEST(PaperRecipe, HasThePublishedValues) {
  const Result<Recipe> recipe = load_recipe(real_file_system(), "paper/frm-w4a4");
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(recipe->weights, (WeightScheme{4, 128, false}));
  EXPECT_EQ(recipe->activations.bits, 4);
  EXPECT_EQ(recipe->activations.per, ActivationGranularity::token_group);
  EXPECT_EQ(recipe->allocate, "kurtosis-groups");
  EXPECT_EQ(recipe->calibration.windows, 128);
  EXPECT_EQ(recipe->calibration.validation_windows, 16);
  EXPECT_EQ(recipe->calibration.length, 2048);
  ASSERT_EQ(recipe->learn.size(), 1U);
  EXPECT_EQ(recipe->learn[0].scale_rate, 2e-5);
  EXPECT_EQ(recipe->learn[0].zero_rate, 2e-5);
  EXPECT_FALSE(recipe->learn[0].normalized_mse);
  EXPECT_FALSE(recipe->learn[0].keep_best);
}

TEST(PresetRecipe, IsFoundInAnyLetterCase) {
  EXPECT_EQ(preset_recipe("W4A4").value(), "default-w4a4");
  EXPECT_EQ(preset_recipe("w2a16", "Light").value(), "light-w2a16");
  EXPECT_EQ(preset_recipe("W3A3", "best").value(), "best-w3a3");
}

TEST(PresetRecipe, ListsThePresetsThereAre) {
  const Result<std::string> recipe = preset_recipe("W4A4", "heavy");
  ASSERT_FALSE(recipe.ok());
  EXPECT_EQ(recipe.error().kind, ErrorKind::usage);
  EXPECT_THAT(recipe.error().message, HasSubstr("light, default, best"));
}

TEST(PresetRecipe, ListsTheSchemesThereAre) {
  const Result<std::string> recipe = preset_recipe("W5A5");
  ASSERT_FALSE(recipe.ok());
  EXPECT_EQ(recipe.error().kind, ErrorKind::usage);
  EXPECT_THAT(recipe.error().message, HasSubstr("W4A16, W3A16, W2A16, W4A4, W3A3, W4A8"));
}

TEST(LoadRecipe, ListsTheNamesThereAre) {
  const Result<Recipe> recipe = load_recipe(real_file_system(), "frm-w9a9");
  ASSERT_FALSE(recipe.ok());
  EXPECT_EQ(recipe.error().code, "recipe/unknown");
  EXPECT_THAT(recipe.error().message, AllOf(HasSubstr("frm-w9a9"), HasSubstr("paper/frm-w4a4")));
}

TEST(LoadRecipe, NamesAFileThatIsNotThere) {
  const Result<Recipe> recipe = load_recipe(real_file_system(), "/nowhere/x.toml");
  ASSERT_FALSE(recipe.ok());
  EXPECT_THAT(recipe.error().message, HasSubstr("/nowhere/x.toml"));
}

}  // namespace
}  // namespace lowbit
