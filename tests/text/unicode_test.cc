#include <gtest/gtest.h>

#include "text/byte_alphabet.h"
#include "text/unicode_class.h"
#include "text/unicode_form.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

TEST(Utf8, FindsTheFirstInvalidByte) {
  EXPECT_EQ(invalid_utf8_at("a\u00E9\u3000\U0001F600"), std::string::npos);
  EXPECT_EQ(invalid_utf8_at("ab\xC3"), 2u) << "cut";
  EXPECT_EQ(invalid_utf8_at("\xC0\x80"), 0u) << "overlong";
  EXPECT_EQ(invalid_utf8_at("\xED\xA0\x80"), 0u) << "surrogate";
  EXPECT_EQ(invalid_utf8_at("\xF4\x90\x80\x80"), 0u) << "above U+10FFFF";
}

TEST(Utf8, RepairsEachBrokenSequenceOnce) {
  EXPECT_EQ(repaired_utf8("a\xF0\x9F\x98z"), "a\uFFFDz");
  EXPECT_EQ(repaired_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(repaired_utf8("\xE2\x96\x81\xFF"), "\u2581\uFFFD");
}

TEST(Utf8, WalksBothWaysOverEveryCodePoint) {
  for (char32_t point = 0; point < 0x110000; point += 7) {
    if (point >= 0xD800 && point < 0xE000) continue;
    std::string text;
    append_utf8(text, point);
    ASSERT_EQ(invalid_utf8_at(text), std::string::npos);
    ASSERT_EQ(code_point_at(text, 0).value, point);
    ASSERT_EQ(code_point_before(text, text.size()).size, text.size());
  }
}

TEST(UnicodeForm, ComposesAndDecomposes) {
  EXPECT_EQ(in_form("e\u0301", UnicodeForm::nfc), "\u00E9");
  EXPECT_EQ(in_form("\u00E9", UnicodeForm::nfd), "e\u0301");
  EXPECT_EQ(in_form("\uFB01\u1E9B\u0323", UnicodeForm::nfkc), "fi\u1E69");
  EXPECT_EQ(in_form("\uFB01\u00BD", UnicodeForm::nfkd), "fi1\u20442");
  EXPECT_EQ(in_form("\u1100\u1161\u11A8", UnicodeForm::nfc), "\uAC01");
  EXPECT_EQ(in_form("q\u0307\u0323", UnicodeForm::nfc), "q\u0323\u0307") << "marks are sorted";
}

TEST(UnicodeForm, SortsLongRunsOfMarksInTime) {
  std::string text = "a";
  for (int i = 0; i < 200'000; ++i) text += "\u0301\u0323";
  EXPECT_EQ(in_form(text, UnicodeForm::nfd).size(), text.size());
}

TEST(UnicodeForm, LowersEachCharacterByItself) {
  EXPECT_EQ(lowercase("\u0391\u03A3 \u0130 \u01C5"), "\u03B1\u03C3 i\u0307 \u01C6");
}

TEST(UnicodeClass, KnowsTheClassesOfTheLibrary) {
  using namespace char_class;
  EXPECT_TRUE(is_of_class(U'é', kLetter) && is_of_class(U'日', kLetter));
  EXPECT_TRUE(is_of_class(U'½', kNumber) && is_of_class(U'٣', kNumber));
  EXPECT_TRUE(is_of_class(0x85, kSpace) && is_of_class(0x3000, kSpace));
  EXPECT_FALSE(is_of_class(0x200B, kSpace) || is_of_class(0x180E, kSpace));
  EXPECT_TRUE(is_of_class(0x301, kWord) && is_of_class(U'_', kWord));
  EXPECT_TRUE(is_of_class(U'$', kPunctuation)) << "all of ASCII's";
  EXPECT_FALSE(is_of_class(0x20AC, kPunctuation)) << "a currency sign is a symbol";
  EXPECT_EQ(classes_of(0x110000), 0);
}

TEST(ByteAlphabet, BringsEveryByteBack) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  std::string characters;
  append_as_characters(bytes, characters);
  EXPECT_EQ(invalid_utf8_at(characters), std::string::npos);
  std::string back;
  append_as_bytes(characters, back);
  EXPECT_EQ(back, bytes);
}

TEST(ByteAlphabet, LeavesOtherTokensAsTheyAre) {
  std::string out;
  append_as_bytes("\u0120a b", out);
  EXPECT_EQ(out, "\u0120a b") << "a space is not in the alphabet";
}

}  // namespace
}  // namespace lowbit
