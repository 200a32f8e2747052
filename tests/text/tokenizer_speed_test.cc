// Time linear in the text: one MiB of the same thing takes at most a second of the processor.
#include <ctime>

#include "text/golden_file.h"

namespace lowbit {
namespace {

constexpr std::size_t kBytes = 1 << 20;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSeconds = 20;
#else
constexpr double kSeconds = 1;
#endif

struct Monotony {
  const char* name;
  const char* repeated;
};

class TokenizerSpeed : public ::testing::TestWithParam<Monotony> {};

TEST_P(TokenizerSpeed, EncodesAMebibyteInASecond) {
  const std::string repeated = GetParam().repeated;
  std::string text;
  while (text.size() < kBytes) text += repeated;
  for (const char* style : {"gpt2", "llama3", "qwen2", "several_splits", "digits", "llama2",
                            "mistral", "metaspace", "words"}) {
    const auto tokenizer = Tokenizer::parse(testing::file_text(
        std::string(LOWBIT_SOURCE_DIR) + "/tests/data/tokenizers/" + style + ".json"));
    ASSERT_TRUE(tokenizer.ok());
    const std::clock_t start = std::clock();
    const auto ids = tokenizer->encode(text);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    ASSERT_TRUE(ids.ok()) << style << ": " << ids.error().message;
    EXPECT_LE(seconds, kSeconds) << style;
    RecordProperty(style, std::to_string(seconds));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Texts, TokenizerSpeed,
    ::testing::Values(Monotony{"Letters", "a"}, Monotony{"Digits", "7"}, Monotony{"Spaces", " "},
                      Monotony{"Newlines", "\n"}, Monotony{"Emoji", "\U0001F600"},
                      Monotony{"Words", "the"}, Monotony{"Marks", "\u0301\u0323"},
                      Monotony{"Quotes", "'"}, Monotony{"Mixed", "the 12, "},
                      Monotony{"SpacedNewlines", "      \n"}, Monotony{"HalfTokens", "<|en"}),
    [](const auto& text) { return std::string(text.param.name); });

}  // namespace
}  // namespace lowbit
