// A tokenizer.json from anywhere, and texts and ids from anyone: clear errors, no crash, no hang.
#include <random>

#include "text/golden_file.h"
#include "text/small_tokenizer.h"

namespace lowbit {
namespace {

using testing::code_of;
using testing::small_tokenizer_json;

struct Change {
  const char* pointer;  // where in the small tokenizer
  const char* value;    // the JSON put there
  const char* code;     // of the error
};

TEST(HostileTokenizer, GetsAnErrorOfItsOwn) {
  const Change changes[] = {
      {"/model", "null", "tokenizer/syntax"},
      {"/model", "[]", "tokenizer/syntax"},
      {"/model/type", R"("Unigram")", "tokenizer/unsupported"},
      {"/model/type", "3", "tokenizer/syntax"},
      {"/model/dropout", "0.1", "tokenizer/unsupported"},
      {"/model/end_of_word_suffix", R"("</w>")", "tokenizer/unsupported"},
      {"/model/continuing_subword_prefix", R"("##")", "tokenizer/unsupported"},
      {"/model/byte_fallback", "1", "tokenizer/syntax"},
      {"/model/unk_token", "1", "tokenizer/syntax"},
      {"/model/vocab", "null", "tokenizer/bad-vocabulary"},
      {"/model/vocab", R"([["a",0]])", "tokenizer/bad-vocabulary"},
      {"/model/vocab/a", "1", "tokenizer/bad-vocabulary"},
      {"/model/vocab/a", "-1", "tokenizer/bad-vocabulary"},
      {"/model/vocab/a", "1.5", "tokenizer/bad-vocabulary"},
      {"/model/vocab/a", "4294967296", "tokenizer/bad-vocabulary"},
      {"/model/vocab/a", R"("0")", "tokenizer/bad-vocabulary"},
      {"/model/merges", "null", "tokenizer/bad-merges"},
      {"/model/merges", R"(["a x"])", "tokenizer/bad-merges"},
      {"/model/merges", R"(["a c"])", "tokenizer/bad-merges"},
      {"/model/merges", R"(["ab"])", "tokenizer/bad-merges"},
      {"/model/merges", R"(["a  b"])", "tokenizer/bad-merges"},
      {"/model/merges", R"([["a"]])", "tokenizer/bad-merges"},
      {"/model/merges", R"([["a", 1]])", "tokenizer/bad-merges"},
      {"/model/merges", "[7]", "tokenizer/bad-merges"},
      {"/added_tokens", "{}", "tokenizer/syntax"},
      {"/added_tokens", "[1]", "tokenizer/bad-vocabulary"},
      {"/added_tokens", R"([{"id":9,"content":1}])", "tokenizer/syntax"},
      {"/added_tokens", R"([{"content":"x"}])", "tokenizer/bad-vocabulary"},
      {"/added_tokens", R"([{"id":0,"content":"x"}])", "tokenizer/bad-vocabulary"},
      {"/added_tokens", R"([{"id":9,"content":"a"}])", "tokenizer/bad-vocabulary"},
      {"/added_tokens", R"([{"id":9,"content":"x"},{"id":9,"content":"y"}])",
       "tokenizer/bad-vocabulary"},
      {"/added_tokens", R"([{"id":9,"content":"x"},{"id":8,"content":"x"}])",
       "tokenizer/bad-vocabulary"},
      {"/added_tokens", R"([{"id":99999999,"content":"x"}])", "tokenizer/bad-vocabulary"},
      {"/normalizer", "[]", "tokenizer/syntax"},
      {"/normalizer", "{}", "tokenizer/syntax"},
      {"/normalizer", R"({"type":"BertNormalizer"})", "tokenizer/unsupported"},
      {"/normalizer", R"({"type":"Sequence"})", "tokenizer/syntax"},
      {"/normalizer", R"({"type":"Sequence","normalizers":[0]})", "tokenizer/syntax"},
      {"/normalizer", R"({"type":"Strip","strip_left":"no"})", "tokenizer/syntax"},
      {"/normalizer", R"({"type":"Replace","content":""})", "tokenizer/syntax"},
      {"/normalizer", R"({"type":"Replace","pattern":{"Regex":"("},"content":""})",
       "tokenizer/bad-pattern"},
      {"/pre_tokenizer", R"({"type":"BertPreTokenizer"})", "tokenizer/unsupported"},
      {"/pre_tokenizer", R"({"type":"Split","pattern":{"String":"a"},"behavior":"Odd"})",
       "tokenizer/unsupported"},
      {"/pre_tokenizer", R"({"type":"Split","pattern":{"Glob":"a"},"behavior":"Removed"})",
       "tokenizer/syntax"},
      {"/pre_tokenizer", R"({"type":"Metaspace","replacement":"ab"})", "tokenizer/syntax"},
      {"/pre_tokenizer", R"({"type":"Metaspace","prepend_scheme":"last"})",
       "tokenizer/unsupported"},
      {"/post_processor", R"({"type":"BertProcessing"})", "tokenizer/unsupported"},
      {"/post_processor", R"({"type":"TemplateProcessing"})", "tokenizer/syntax"},
      {"/post_processor", R"({"type":"TemplateProcessing","single":[]})", "tokenizer/unsupported"},
      {"/post_processor",
       R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}}]})",
       "tokenizer/syntax"},
      {"/post_processor",
       R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"s"}},
           {"Sequence":{"id":"A"}}],"special_tokens":{"s":{"id":"s","ids":[77]}}})",
       "tokenizer/bad-vocabulary"},
      {"/decoder", R"({"type":"CTC"})", "tokenizer/unsupported"},
      {"/decoder", R"({"type":"Strip","content":"","start":1,"stop":0})", "tokenizer/syntax"},
      {"/decoder", R"({"type":"Strip","content":" ","start":1e9})", "tokenizer/syntax"},
  };
  for (const Change& change : changes) {
    Json json = small_tokenizer_json();
    json[Json::json_pointer(change.pointer)] = Json::parse(change.value);
    EXPECT_EQ(code_of(json), change.code) << change.pointer << " = " << change.value;
  }
}

TEST(HostileTokenizer, IsNotJson) {
  EXPECT_EQ(Tokenizer::parse("").error().code, "tokenizer/syntax");
  EXPECT_EQ(Tokenizer::parse("[]").error().code, "tokenizer/syntax");
  EXPECT_EQ(Tokenizer::parse(R"({"a":1,"a":2})").error().code, "tokenizer/syntax");
}

TEST(HostileTokenizer, NamesWhatIsUnsupportedAndWhatIsNot) {
  Json json = small_tokenizer_json();
  json["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  const auto tokenizer = Tokenizer::parse(json.dump());
  EXPECT_EQ(tokenizer.error().message,
            "pre_tokenizer 'BertPreTokenizer' is not supported; supported: Split, ByteLevel, "
            "Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, Sequence");
}

TEST(HostileTokenizer, CannotGrowTheTextWithoutBound) {
  Json json = small_tokenizer_json();
  Json doubling = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::vector<Json>(60, doubling)}};
  const auto tokenizer = testing::tokenizer_of(json);
  EXPECT_EQ(tokenizer.encode("aaaa").error().code, "tokenizer/unsupported");
  json["normalizer"]["normalizers"] = std::vector<Json>(65, doubling);
  EXPECT_EQ(code_of(json), "tokenizer/unsupported");
}

TEST(HostileTokenizer, CannotHangInAPattern) {
  Json json = small_tokenizer_json();
  json["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a|aa)+$"}}}, {"behavior", "Isolated"}};
  const auto tokenizer = testing::tokenizer_of(json);
  EXPECT_EQ(tokenizer.encode(std::string(10000, 'a') + "b").error().code, "tokenizer/bad-pattern");
}

TEST(HostileText, IsRefusedWhereItIsNotUtf8) {
  const auto tokenizer = testing::tokenizer_of(small_tokenizer_json());
  const auto ids = tokenizer.encode("ab\xFF");
  EXPECT_EQ(ids.error().code, "tokenizer/not-utf8");
  EXPECT_EQ(ids.error().message, "the text is not UTF-8 at byte 2; convert it first");
}

TEST(HostileIds, AreRefusedWhereTheVocabularyHasNone) {
  const auto tokenizer = testing::tokenizer_of(small_tokenizer_json());
  for (const TokenId id : {-1, 6, 1 << 30}) {
    const std::vector<TokenId> ids = {id};
    EXPECT_EQ(tokenizer.decode(ids).error().code, "tokenizer/unknown-token") << id;
  }
}

TEST(Tokenizer, SaysThatTheFolderHasNoTokenizer) {
  const auto tokenizer = Tokenizer::load(real_file_system(), "no-such-folder");
  EXPECT_EQ(tokenizer.error().code, "tokenizer/missing");
}

// Bytes of real files changed, dropped and doubled: whatever is accepted also encodes and decodes.
TEST(HostileTokenizer, SurvivesBrokenBytes) {
  std::mt19937 random(5);
  const auto below = [&](std::size_t end) {
    return std::uniform_int_distribution<std::size_t>(0, end - 1)(random);
  };
  for (const char* name : {"llama2", "digits", "metaspace", "several_splits"}) {
    const std::string whole = testing::file_text(std::string(LOWBIT_SOURCE_DIR) +
                                                 "/tests/data/tokenizers/" + name + ".json");
    ASSERT_FALSE(whole.empty());
    for (int round = 0; round < 60; ++round) {
      std::string broken = whole;
      for (std::size_t count = 1 + below(3); count > 0; --count) {
        const std::size_t at = below(2) == 0 ? below(1500) : below(broken.size());
        broken[at] = "{}[]\",:0129aegt\\ \n\xC3"[below(20)];
      }
      const auto tokenizer = Tokenizer::parse(broken);
      if (!tokenizer) continue;
      const auto ids = tokenizer->encode("the  word 123 <mask> \u00E9\u65E5", SpecialTokens::add);
      if (ids) {
        EXPECT_TRUE(tokenizer->decode(*ids).ok());
      }
    }
  }
}

}  // namespace
}  // namespace lowbit
