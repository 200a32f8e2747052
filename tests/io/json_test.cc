#include "io/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "io/limits.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

// Both readers are one template, and must refuse the same.
std::string code_of(std::string_view text) {
  const auto plain = parse_json(text);
  const auto ordered = parse_ordered_json(text);
  EXPECT_EQ(plain.ok(), ordered.ok());
  if (plain.ok()) return "fine";
  EXPECT_EQ(plain.error().code, ordered.error().code);
  EXPECT_EQ(plain.error().kind, ErrorKind::bad_input);
  return plain.error().code;
}

TEST(Json, ReadsWhatTheLibraryReads) {
  for (const char* text :
       {"null", "true", "-7", "18446744073709551615", "1.5e-3", "\"a\\u00e4\\n\"", "[]", "{}",
        R"({"b":[1,{"c":null},[[]]],"a":{"":[false,"x"]},"d":-0.0})", "  [1 , 2 ]\n"}) {
    EXPECT_EQ(*parse_json(text), Json::parse(text)) << text;
    EXPECT_EQ(*parse_ordered_json(text), OrderedJson::parse(text)) << text;
  }
}

TEST(Json, TheOrderedReaderKeepsTheOrderOfKeys) {
  constexpr const char* kText = R"({"z":1,"a":{"y":2,"b":3},"m":[{"q":4,"c":5}]})";
  EXPECT_EQ(parse_ordered_json(kText)->dump(), kText);
}

TEST(Json, RefusesBadSyntaxAndTellsTheByte) {
  for (const char* text : {"", "{", "[1,]", "{\"a\" 1}", "nul", "[1] 2", "{1:2}", "NaN", "'a'"}) {
    EXPECT_EQ(code_of(text), "json/syntax") << text;
  }
  EXPECT_THAT(parse_json("[1, 2, x]").error().message, HasSubstr("byte 8"));
}

TEST(Json, RefusesADuplicateKeyInOneObjectOnly) {
  EXPECT_EQ(code_of(R"({"a":1,"b":2,"a":1})"), "json/duplicate-key");
  EXPECT_EQ(code_of(R"([{"x":{"a":1,"\u0061":2}}])"), "json/duplicate-key");
  EXPECT_EQ(code_of(R"({"a":{"a":1},"b":{"a":2}})"), "fine");
  EXPECT_THAT(parse_json(R"({"kk":1,"kk":2})").error().message, HasSubstr("'kk'"));
}

TEST(Json, RefusesTooDeepNestingOfAnyKind) {
  const auto arrays = [](std::size_t depth) { return repeated("[", depth) + repeated("]", depth); };
  EXPECT_EQ(code_of(arrays(kMaxJsonDepth)), "fine");
  EXPECT_EQ(code_of(arrays(kMaxJsonDepth + 1)), "json/depth");
  EXPECT_EQ(code_of(repeated("[", 10'000'000)), "json/depth");
  EXPECT_EQ(code_of(repeated("{\"a\":", 1'000'000)), "json/depth");
}

TEST(Json, RefusesTextThatIsNotUtf8) {
  EXPECT_EQ(code_of("\"\xff\""), "json/syntax");
  EXPECT_EQ(code_of("\"\xc3\""), "json/syntax");
  EXPECT_EQ(code_of("\"\xed\xa0\x80\""), "json/syntax");  // a surrogate
  EXPECT_EQ(code_of("\"\\ud800\""), "json/syntax");       // half of a pair
  EXPECT_EQ(code_of("{\"\xc0\x80\":1}"), "json/syntax");  // an overlong zero
}

TEST(Json, RefusesNumbersThatNoDoubleHolds) {
  EXPECT_EQ(code_of("[1e999]"), "json/number");
  EXPECT_EQ(code_of("-1e999"), "json/number");
  EXPECT_EQ(code_of(repeated("9", 400)), "json/number");
  EXPECT_EQ(code_of("123456789012345678901234567890"), "fine");  // as a double
}

// A reader that looks through all earlier keys would need minutes here.
TEST(Json, TimeIsLinearInTheKeysOfAnOrderedObject) {
  std::string text = "{\"first\":0";
  for (int i = 0; i < 100'000; ++i) text += ",\"" + std::to_string(i) + "\":0";
  EXPECT_EQ(parse_ordered_json(text + "}")->size(), 100'001u);
}

}  // namespace
}  // namespace lowbit
