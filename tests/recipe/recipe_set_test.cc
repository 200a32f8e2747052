// `--set KEY=VALUE` on a recipe.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recipe/recipe.h"

namespace lowbit {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Recipe frm() { return load_recipe(real_file_system(), "frm-w4a4").value(); }

Error refused(const std::string& assignment) {
  Recipe recipe = frm();
  const std::string before = to_toml(recipe);
  const Status status = set_recipe_key(recipe, assignment);
  EXPECT_FALSE(status.ok()) << assignment;
  EXPECT_EQ(to_toml(recipe), before) << "a refused assignment changes nothing";
  return status.ok() ? Error{} : status.error();
}

TEST(SetRecipeKey, ChangesAnyKeyOfTheFile) {
  Recipe recipe = frm();
  for (const char* assignment :
       {"name=mine", "scheme.weights.bits=3", "scheme.weights.symmetric=true",
        "scheme.activations.per=token", "scheme.activations.group_size=32",
        "scheme.embedding.bits=4", "scheme.head.bits=8", "scheme.head.activation_bits=8",
        "scheme.kv_cache=int4", "scheme.ignore=[\"lm_head\", \"down_proj\"]",
        "calibration.windows=16", "learn.epochs=2", "learn.rate.scale=1e-3", "learn.loss.mse=0",
        "learn.train=[\"scale\"]", "allocate.robust=512", "range=mse-search",
        "scheme.activations.clip=0.9", "range.activation_clip=search"}) {
    const Status status = set_recipe_key(recipe, assignment);
    EXPECT_TRUE(status.ok()) << assignment << ": " << status.error().message;
  }
  EXPECT_EQ(recipe.name, "mine");
  EXPECT_EQ(recipe.weights, (WeightScheme{3, 128, true}));
  EXPECT_EQ(recipe.activations.per, ActivationGranularity::token);
  EXPECT_EQ(recipe.activations.group_size, 32);
  EXPECT_EQ(recipe.ignore, (std::vector<std::string>{"lm_head", "down_proj"}));
  EXPECT_EQ(recipe.embedding.bits, 4);
  EXPECT_EQ(recipe.head.bits, 8);
  EXPECT_EQ(recipe.head_activation_bits, 8);
  EXPECT_EQ(recipe.kv_cache, KvType::int4);
  EXPECT_EQ(recipe.calibration.windows, 16);
  EXPECT_EQ(recipe.learn[0].epochs, 2);
  EXPECT_EQ(recipe.learn[0].scale_rate, 1e-3);
  EXPECT_EQ(recipe.learn[0].zero_rate, 0);
  EXPECT_EQ(recipe.learn[0].mse, 0);
  EXPECT_EQ(recipe.robust_group_size, 512);
  EXPECT_EQ(recipe.range, RangeMethod::mse_search);
  EXPECT_EQ(recipe.activations.clip, 0.9);
  EXPECT_EQ(recipe.activation_clip, ClipChoice::search);
}

TEST(SetRecipeKey, SwitchesThePassOfAStage) {
  Recipe recipe = frm();
  ASSERT_TRUE(set_recipe_key(recipe, "allocate=uniform").ok());
  EXPECT_EQ(recipe.allocate, "uniform");
  const Error error = refused("allocate=random");
  EXPECT_EQ(error.code, "recipe/unknown-pass");
  EXPECT_THAT(error.message, HasSubstr("kurtosis-groups"));
}

TEST(SetRecipeKey, TakesRanksAndRoundsFromOneOn) {
  Recipe recipe = frm();
  for (const char* assignment :
       {"compensate=low-rank", "compensate.rank=16", "compensate.rounds=20"}) {
    ASSERT_TRUE(set_recipe_key(recipe, assignment).ok()) << assignment;
  }
  EXPECT_TRUE(recipe.adds_low_rank());
  EXPECT_EQ(recipe.low_rank.rank, 16);
  for (const char* assignment :
       {"compensate.rank=0", "compensate.rounds=0", "compensate.rounds=21"}) {
    EXPECT_EQ(refused(assignment).code, "recipe/bad-value") << assignment;
  }
}

TEST(SetRecipeKey, ReachesTheKeysOfEverySolver) {
  Recipe recipe = frm();
  for (const char* assignment :
       {"solve=gptaq", "solve.asymmetry=0.5", "solve.first_order=0.1", "solve.polish=2",
        "solve.passes=12", "solve.token_weights=attention", "solve.least_token_weight=0.1"}) {
    const Status status = set_recipe_key(recipe, assignment);
    EXPECT_TRUE(status.ok()) << assignment << ": " << status.error().message;
  }
  EXPECT_EQ(recipe.solve.asymmetry, 0.5);
  EXPECT_EQ(recipe.solve.first_order, 0.1);
  EXPECT_EQ(recipe.solve.polish, 2);
  EXPECT_EQ(recipe.solve.passes, 12);
  EXPECT_EQ(recipe.solve.token_weights, TokenWeights::attention);
  EXPECT_EQ(recipe.solve.least_token_weight, 0.1);
  EXPECT_TRUE(recipe.solve.needs_teacher_inputs());
  ASSERT_TRUE(set_recipe_key(recipe, "solve=gptq").ok());
  EXPECT_FALSE(recipe.solve.needs_teacher_inputs()) << "the asymmetry is GPTAQ's alone";
  EXPECT_EQ(refused("solve.asymmetry=1.5").code, "recipe/bad-value");
  EXPECT_EQ(refused("solve.polish=-1").code, "recipe/bad-value");
  EXPECT_EQ(refused("solve.passes=0").code, "recipe/bad-value");
  EXPECT_THAT(refused("solve.token_weights=all").message, HasSubstr("attention"));
}

TEST(SetRecipeKey, ReachesTheTrainingOfEachLearnedTransform) {
  Recipe recipe = frm();
  EXPECT_TRUE(recipe.learned_transforms().empty());
  for (const char* assignment : {"smooth=omniquant", "smooth.rate=1e-3", "smooth.epochs=3",
                                 "rotate=kronecker", "rotate.batch=2", "rotate.windows=8"}) {
    const Status status = set_recipe_key(recipe, assignment);
    EXPECT_TRUE(status.ok()) << assignment << ": " << status.error().message;
  }
  ASSERT_EQ(recipe.learned_transforms().size(), 2U);
  EXPECT_EQ(recipe.learned_transforms()[0].rate, 1e-3);
  EXPECT_EQ(recipe.learned_transforms()[0].epochs, 3);
  EXPECT_EQ(recipe.learned_transforms()[1].batch, 2);
  EXPECT_EQ(recipe.learned_transforms()[1].windows, 8);
  EXPECT_EQ(refused("smooth.rate=2").code, "recipe/bad-value");
  EXPECT_EQ(refused("smooth.epochs=-1").code, "recipe/bad-value");
  EXPECT_EQ(refused("smooth.batch=0").code, "recipe/bad-value");
  const Error error = refused("smooth.epoch=1");
  EXPECT_EQ(error.code, "recipe/unknown-key");
  EXPECT_THAT(error.message, HasSubstr("smooth.epochs"));
}

TEST(SetRecipeKey, RefusesUnknownKeysAndListsThem) {
  const Error error = refused("epochs=2");
  EXPECT_EQ(error.code, "recipe/unknown-key");
  EXPECT_THAT(error.message, AllOf(HasSubstr("'epochs'"), HasSubstr("learn.epochs")));
  EXPECT_EQ(refused("learn.epoch=2").code, "recipe/unknown-key");
}

TEST(SetRecipeKey, RefusesBadValues) {
  EXPECT_EQ(refused("learn.epochs=two").code, "recipe/bad-value");
  EXPECT_EQ(refused("range.activation_clip=maybe").code, "recipe/bad-value");
  EXPECT_EQ(refused("range.activation_clip=1").code, "recipe/bad-value");
  for (const char* clip : {"0", "0.0", "-0.5", "1.5", "nan", "1e-60", "\"0.9\""}) {
    const Error error = refused(std::string("scheme.activations.clip=") + clip);
    EXPECT_EQ(error.code, "recipe/bad-value") << clip;
    EXPECT_THAT(error.message, HasSubstr("above 0 and at most 1"));
  }
  EXPECT_EQ(refused("learn.epochs=-1").code, "recipe/bad-value");
  EXPECT_EQ(refused("learn.epochs=99999999999999999999").code, "recipe/bad-value");
  EXPECT_EQ(refused("learn.epochs=").code, "recipe/syntax");
  EXPECT_EQ(refused("learn.epochs").code, "recipe/syntax");
  EXPECT_EQ(refused("=3").code, "recipe/syntax");
  EXPECT_EQ(refused("learn.epochs=2\nname=\"x\"").code, "recipe/syntax");
}

TEST(SetRecipeKey, RefusesLearnKeysOfARecipeThatDoesNotLearn) {
  Recipe recipe = load_recipe(real_file_system(), "rtn-w4a4").value();
  const Status status = set_recipe_key(recipe, "learn.epochs=2");
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("'rtn-w4a4' has no learn pass"));
}

}  // namespace
}  // namespace lowbit
