#include "text/text_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "text/byte_level_tokenizer.h"
#include "text/limits.h"
#include "text/small_tokenizer.h"
#include "text/stream_checks.h"

namespace lowbit {
namespace {

using testing::streamed;

class TextStreamOf : public ::testing::TestWithParam<const char*> {};

TEST_P(TextStreamOf, GivesInWholeCharactersWhatOneDecodeGives) {
  const std::string path =
      std::string(LOWBIT_SOURCE_DIR "/tests/data/tokenizers/") + GetParam() + ".json";
  testing::expect_streams_as_decoded(Tokenizer::parse(testing::file_text(path)).value());
}

INSTANTIATE_TEST_SUITE_P(Styles, TextStreamOf,
                         ::testing::Values("digits", "gpt2", "llama2", "llama3", "metaspace",
                                           "mistral", "qwen2", "several_splits", "words"),
                         [](const auto& style) { return std::string(style.param); });

TEST(TextStream, WaitsForTheRestOfACharacter) {
  const Tokenizer tokenizer = testing::byte_level_tokenizer();
  TextStream stream = TextStream::start(tokenizer).value();
  EXPECT_EQ(stream.add('a').value(), "a");
  EXPECT_EQ(stream.add(0xE2).value(), "");
  EXPECT_EQ(stream.add(0x82).value(), "");
  EXPECT_EQ(stream.add(0xAC).value(), "\u20AC");
  EXPECT_EQ(stream.add(0xE2).value(), "");
  EXPECT_EQ(stream.add('b').value(), "\uFFFDb");
  EXPECT_EQ(stream.add(0xF0).value(), "");
  EXPECT_EQ(stream.finish().value(), "\uFFFD");
}

// Each step alone and in odd places, where the text after a step comes in parts.
TEST(TextStream, FollowsEveryChainOfDecoderSteps) {
  const Json steps = Json::parse(R"([
    {"type": "ByteLevel"}, {"type": "Fuse"}, {"type": "ByteFallback"},
    {"type": "Replace", "pattern": {"String": "b"}, "content": " "},
    {"type": "Replace", "pattern": {"Regex": "a+ "}, "content": "ccc"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 2},
    {"type": "Strip", "content": "a", "start": 0, "stop": 1},
    {"type": "Metaspace", "replacement": "a", "prepend_scheme": "always"}])");
  Json json = testing::small_tokenizer_json();
  for (const Json& one : steps) {
    for (const Json& two : steps) {
      for (const Json& three : steps) {
        json["decoder"] = {{"type", "Sequence"}, {"decoders", {one, two, three}}};
        SCOPED_TRACE(json["decoder"].dump());
        testing::expect_streams_as_decoded(testing::tokenizer_of(json), 10);
      }
    }
  }
}

TEST(TextStream, WritesTheFirstTokenByWhatPrecedesIt) {
  const std::string path = LOWBIT_SOURCE_DIR "/tests/data/tokenizers/llama2.json";
  const Tokenizer tokenizer = Tokenizer::parse(testing::file_text(path)).value();
  const std::vector<TokenId> word = tokenizer.encode("a").value();
  TextStream stream = TextStream::start(tokenizer).value();
  EXPECT_EQ(stream.precede(word).value(), "a");
  EXPECT_EQ(streamed(stream, word), " a");
}

TEST(TextStream, RefusesUnknownIds) {
  const Tokenizer tokenizer = testing::byte_level_tokenizer();
  TextStream stream = TextStream::start(tokenizer).value();
  const auto text = stream.add(1000);
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().code, "tokenizer/unknown-token");
}

TEST(TextStream, EndsBeforeAStopStringThatSpansTokens) {
  const Tokenizer tokenizer = testing::byte_level_tokenizer();
  TextStream stream = TextStream::start(tokenizer, {"never", "aab\u20AC"}).value();
  EXPECT_EQ(stream.precede(tokenizer.encode("aab\u20AC").value()).value(), "aab\u20AC");
  EXPECT_EQ(stream.add('x').value(), "x");
  EXPECT_EQ(stream.add(257).value(), "a");  // "aaa": its end may begin the stop string
  EXPECT_EQ(stream.add('b').value(), "");
  EXPECT_EQ(stream.add('a').value(), "aab");
  EXPECT_EQ(streamed(stream, tokenizer.encode("ab\u20ACmore").value()), "");
  EXPECT_EQ(stream.stop(), 1u);
}

TEST(TextStream, HandsOutWhatWasHeldBackWhenNothingFollows) {
  const Tokenizer tokenizer = testing::byte_level_tokenizer();
  TextStream stream = TextStream::start(tokenizer, {"stop"}).value();
  EXPECT_EQ(streamed(stream, tokenizer.encode("x sto").value()), "x sto");
  EXPECT_EQ(stream.stop(), std::nullopt);
}

// What the obvious search says of the whole text.
std::string up_to_stop(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopStrings, CutWhereTheObviousSearchCuts) {
  std::mt19937 random(9);
  const auto letters = [&](std::size_t most) {
    std::string text(random() % most + 1, 'a');
    for (char& letter : text) letter = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> strings;
    for (std::size_t n = random() % 4; n > 0; --n) strings.push_back(letters(6));
    StopStrings stops = StopStrings::of(strings).value();
    std::string all, passed;
    for (int piece = 0; piece < 8; ++piece) {
      const std::string text = letters(5);
      all += text;
      passed += stops.pass(text);
      const std::string sure = up_to_stop(all, strings);
      ASSERT_TRUE(sure.starts_with(passed));
      ASSERT_EQ(stops.met().has_value(), sure.size() < all.size());
      if (stops.met()) break;
    }
    ASSERT_EQ(passed + stops.finish(), up_to_stop(all, strings));
  }
}

TEST(StopStrings, RefusesWhatCannotBeOne) {
  for (const auto& bad : std::vector<std::vector<std::string>>{
           {""},
           {"fine", "\xFF"},
           {std::string(tokenizer_limits::kStopStringBytes + 1, 'x')},
           std::vector<std::string>(tokenizer_limits::kStopStrings + 1, "x")}) {
    const auto stops = StopStrings::of(bad);
    ASSERT_FALSE(stops.ok());
    EXPECT_EQ(stops.error().code, "stream/bad-stop");
    EXPECT_EQ(stops.error().kind, ErrorKind::usage);
  }
}

}  // namespace
}  // namespace lowbit
