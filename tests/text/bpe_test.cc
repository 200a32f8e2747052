#include "text/small_tokenizer.h"

namespace lowbit {
namespace {

using testing::ids_of;
using testing::small_tokenizer_json;
using Ids = std::vector<TokenId>;

TEST(Bpe, MergesTheLowestRankFirstThenTheLeftmost) {
  Json json = small_tokenizer_json();
  json["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"aa", 2}, {"ab", 3}, {"aab", 4}};
  json["model"]["merges"] = {"a a", "a b", "a ab", "aa b"};
  EXPECT_EQ(ids_of(json, "aaa"), (Ids{2, 0}));
  EXPECT_EQ(ids_of(json, "aab"), (Ids{4}));
  json["model"]["merges"] = {"a b", "a a", "a ab"};
  EXPECT_EQ(ids_of(json, "aaab"), (Ids{2, 3}));
}

TEST(Bpe, TakesMergesAsStringsAndAsPairs) {
  Json json = small_tokenizer_json();
  EXPECT_EQ(ids_of(json, "abc ab"), (Ids{5, 3, 4}));
  json["model"]["merges"] = Json::parse(R"([["a", "b"], ["ab", "c"]])");
  EXPECT_EQ(ids_of(json, "abc ab"), (Ids{5, 3, 4}));
}

TEST(Bpe, LooksUpWholeWordsFirstWhenMergesAreIgnored) {
  Json json = small_tokenizer_json();
  json["model"]["merges"] = {"a b"};
  EXPECT_EQ(ids_of(json, "abc"), (Ids{4, 2}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(ids_of(json, "abc"), (Ids{5}));
}

TEST(Bpe, TurnsUnknownCharactersIntoUnkTokens) {
  Json json = small_tokenizer_json();
  EXPECT_EQ(ids_of(json, "axyb"), (Ids{4})) << "dropped without an unk_token, as by the library";
  json["model"]["vocab"]["<unk>"] = 6;
  json["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(ids_of(json, "axyb"), (Ids{0, 6, 6, 1}));
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(ids_of(json, "axyb"), (Ids{0, 6, 1}));
}

TEST(Bpe, TurnsUnknownCharactersIntoBytes) {
  Json json = small_tokenizer_json();
  json["model"]["byte_fallback"] = true;
  json["model"]["unk_token"] = "c";
  json["model"]["vocab"]["<0xC3>"] = 6;
  json["model"]["vocab"]["<0xA9>"] = 7;
  EXPECT_EQ(ids_of(json, "a\xC3\xA9"), (Ids{0, 6, 7}));
  EXPECT_EQ(ids_of(json, "a\xC3\xA8"), (Ids{0, 2})) << "one of its bytes has no token";
}

TEST(Bpe, SaysWhenTheUnkTokenItNeedsIsMissing) {
  Json json = small_tokenizer_json();
  json["model"]["unk_token"] = "<unk>";
  const auto tokenizer = testing::tokenizer_of(json);
  EXPECT_TRUE(tokenizer.encode("abc").ok());
  EXPECT_EQ(tokenizer.encode("x").error().code, "tokenizer/unknown-token");
}

// Long words are cut where no merge can cross; the pieces must join to the same ids.
TEST(Bpe, EncodesLongWordsAsShortOnes) {
  const auto tokenizer = testing::tokenizer_of(small_tokenizer_json());
  const Ids once = tokenizer.encode("abcab cba").value();
  std::string text;
  Ids expected;
  for (int i = 0; i < 50; ++i) {
    text += "abcab cba";
    expected.insert(expected.end(), once.begin(), once.end());
  }
  // "a" + "a" never merge, so the repeats meet without a merge across.
  EXPECT_EQ(tokenizer.encode(text).value(), expected);
}

TEST(Bpe, KnowsItsSizeAndTheIdsOfTexts) {
  const auto tokenizer = testing::tokenizer_of(small_tokenizer_json());
  EXPECT_EQ(tokenizer.vocabulary_size(), 6);
  EXPECT_EQ(tokenizer.id_of("abc"), 5);
  EXPECT_EQ(tokenizer.id_of("cba"), -1);
}

}  // namespace
}  // namespace lowbit
