// What packed tables cost a real model, measured as `eval` does: little at 8 bits, more with fewer.
#include <gtest/gtest.h>

#include "eval/evaluate.h"
#include "methods/quantize.h"
#include "recipe/recipe.h"
#include "runtime/golden.h"
#include "support/temporary_folder.h"
#include "text/tokenizer.h"

namespace lowbit {
namespace {

const Path kModel = test::shared_folder() / "models/tiny-llama";

// KL divergence to the source of 8-bit linears with the tied table in so many bits.
double divergence(const std::string& bits, const std::vector<std::vector<TokenId>>& windows) {
  const testing::TemporaryFolder temporary;
  Recipe recipe = load_recipe(real_file_system(), "rtn-w4a16").value();
  for (const std::string& setting :
       {std::string("scheme.weights.bits=8"), "scheme.embedding.bits=" + bits}) {
    EXPECT_TRUE(set_recipe_key(recipe, setting).ok());
  }
  const Checkpoint checkpoint = Checkpoint::open(real_file_system(), kModel).value();
  const Plan plan = make_plan(checkpoint, recipe, {}).value();
  QuantizeOptions options;
  options.output = temporary.path() / "out";
  const auto done = quantize(checkpoint, plan, {}, options);
  EXPECT_TRUE(done.ok()) << done.error().message;
  const auto source = test::open_model(kModel);
  return evaluate(test::open_model(options.output), &source, windows, {}).value().kl.value();
}

TEST(PackedTables, CostMoreTheFewerBitsTheyHave) {
  if (!real_file_system().exists(kModel)) GTEST_SKIP() << kModel << " is not there";
  const auto text =
      real_file_system().read(test::shared_folder() / "data/wiki-test.txt", 1 << 26).value();
  const auto tokens =
      Tokenizer::load(real_file_system(), kModel).value().encode(text.substr(0, 20000)).value();
  const auto windows = cut_windows(tokens, {.window_length = 256, .max_windows = 4}).value();
  const double unpacked = divergence("16", windows);
  const double eight = divergence("8", windows);
  const double four = divergence("4", windows);
  EXPECT_LT(eight, 2 * unpacked);
  EXPECT_GT(four, 2 * eight);
  EXPECT_LT(four, 0.1);
}

}  // namespace
}  // namespace lowbit
