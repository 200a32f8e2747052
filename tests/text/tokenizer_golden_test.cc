// Small tokenizers of every supported style, made by tests/data/tokenizers/make.py.
#include "text/golden_file.h"

namespace lowbit {
namespace {

class TokenizerGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, EncodesAndDecodesAsTheLibraryDoes) {
  const std::string stem = std::string(LOWBIT_SOURCE_DIR) + "/tests/data/tokenizers/" + GetParam();
  const auto tokenizer = Tokenizer::parse(testing::file_text(stem + ".json"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  testing::expect_golden(*tokenizer, parse_json(testing::file_text(stem + ".golden.json")).value());
}

INSTANTIATE_TEST_SUITE_P(Styles, TokenizerGolden,
                         ::testing::Values("gpt2", "llama3", "qwen2", "several_splits", "digits",
                                           "llama2", "mistral", "metaspace", "words"),
                         [](const auto& style) { return std::string(style.param); });

}  // namespace
}  // namespace lowbit
