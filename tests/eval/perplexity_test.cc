// Text to perplexity, against the reference values of the shared models (40 windows of 2048).
#include <gtest/gtest.h>

#include "eval/evaluate.h"
#include "runtime/golden.h"
#include "text/tokenizer.h"

namespace lowbit {
namespace {

class SharedPerplexity : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedPerplexity, IsThatOfTransformers) {
  const Path folder = test::shared_folder() / "models" / GetParam();
  FileSystem& files = real_file_system();
  if (!files.exists(folder)) GTEST_SKIP() << folder << " is not there";
  const Json golden = parse_json(files.read(folder / "golden.json", 1 << 20).value()).value();
  const auto text = files.read(test::shared_folder() / "data/wiki-test.txt", 1 << 26);
  ASSERT_TRUE(text.ok());
  const auto tokenizer = Tokenizer::load(files, folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto tokens = tokenizer->encode(*text);
  ASSERT_TRUE(tokens.ok());
  const auto windows = cut_windows(*tokens, {.window_length = 2048, .max_windows = 40});
  ASSERT_TRUE(windows.ok());
  const auto result = evaluate(test::open_model(folder), nullptr, *windows, {});
  ASSERT_TRUE(result.ok()) << result.error().message;
  const double expected = golden["perplexity"]["value"].get<double>();
  EXPECT_NEAR(result->perplexity, expected, 0.0005 * expected);
}

INSTANTIATE_TEST_SUITE_P(Perplexity, SharedPerplexity,
                         ::testing::Values("tiny-llama", "mini-llama", "mini-qwen"));

}  // namespace
}  // namespace lowbit
