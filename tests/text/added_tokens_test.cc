#include "text/small_tokenizer.h"

namespace lowbit {
namespace {

using testing::small_tokenizer_json;
using Ids = std::vector<TokenId>;

Json with_token(const Json& flags = Json::object()) {
  Json json = small_tokenizer_json();
  Json token = {{"id", 6}, {"content", "cab"}, {"normalized", false}};
  token.update(flags);
  json["added_tokens"] = Json::array({token});
  return json;
}

TEST(AddedTokens, AreFoundBeforeTheModelSeesTheText) {
  EXPECT_EQ(testing::ids_of(with_token(), "abcab"), (Ids{4, 6}));
}

TEST(AddedTokens, PreferTheLongestAtTheLeftmostPlace) {
  Json json = with_token();
  json["added_tokens"].push_back({{"id", 7}, {"content", "cabb"}});
  json["added_tokens"].push_back({{"id", 8}, {"content", "abbb"}});
  EXPECT_EQ(testing::ids_of(json, "cabbb"), (Ids{7, 1}));
}

TEST(AddedTokens, StandAloneWhenSingleWord) {
  const Json json = with_token({{"single_word", true}});
  EXPECT_EQ(testing::ids_of(json, "cab cab"), (Ids{6, 3, 6}));
  EXPECT_EQ(testing::ids_of(json, "ccab"), (Ids{2, 2, 4}));
  EXPECT_EQ(testing::ids_of(json, "caba"), (Ids{2, 4, 0}));
}

TEST(AddedTokens, TakeTheSpacesBesideThem) {
  EXPECT_EQ(testing::ids_of(with_token({{"lstrip", true}}), "a  cab  a"), (Ids{0, 6, 3, 3, 0}));
  EXPECT_EQ(testing::ids_of(with_token({{"rstrip", true}}), "a  cab  a"), (Ids{0, 3, 3, 6, 0}));
}

TEST(AddedTokens, AreFoundInTheNormalisedTextWhenTheySayThat) {
  Json json = with_token({{"normalized", true}});
  json["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_EQ(testing::ids_of(json, "CAB"), (Ids{6}));
  json["added_tokens"][0]["normalized"] = false;
  EXPECT_EQ(testing::ids_of(json, "CAB"), (Ids{2, 4}));
}

TEST(AddedTokens, AreLeftOutOfDecodedTextOnlyWhenSpecial) {
  const Ids ids = {0, 6};
  const auto special = testing::tokenizer_of(with_token({{"special", true}}));
  EXPECT_EQ(special.decode(ids, SkipSpecial::yes).value(), "a");
  EXPECT_EQ(special.decode(ids, SkipSpecial::no).value(), "a cab");
  const auto plain = testing::tokenizer_of(with_token());
  EXPECT_EQ(plain.decode(ids, SkipSpecial::yes).value(), "a cab");
}

TEST(AddedTokens, CountInTheSizeOfTheVocabulary) {
  const auto tokenizer = testing::tokenizer_of(with_token());
  EXPECT_EQ(tokenizer.vocabulary_size(), 7);
  EXPECT_EQ(tokenizer.id_of("cab"), 6);
}

}  // namespace
}  // namespace lowbit
