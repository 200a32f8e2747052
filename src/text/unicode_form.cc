#include "text/unicode_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

using Points = std::vector<utf8proc_int32_t>;

constexpr std::size_t kLongestDecomposition = 32;  // Unicode's longest has 18 code points
constexpr char32_t kCapitalDottedI = 0x130;        // the one whose lower case is two characters
constexpr std::string_view kSmallDottedI = "i\xCC\x87";

struct Range {
  char32_t first = 0;
  char32_t last = 0;
};

// Characters that the library's normaliser, which follows Unicode 11, does not know to decompose.
constexpr std::array<Range, 9> kYounger = {{{0x32FF, 0x32FF},
                                            {0xA7F2, 0xA7F4},
                                            {0xAB69, 0xAB69},
                                            {0x10781, 0x107BA},
                                            {0x11938, 0x11938},
                                            {0x1E030, 0x1E06D},
                                            {0x1F16C, 0x1F16C},
                                            {0x1FBF0, 0x1FBF9},
                                            {0x1CCD6, 0x1CCF9}}};

struct CaseRange {
  char32_t first = 0;
  char32_t last = 0;
  char32_t small = 0;  // lower case of the first
};

// Capital letters of Unicode 16 and 17, which the library's lower case knows and utf8proc may not.
constexpr std::array<CaseRange, 10> kYoungCapitals = {{{0x1C89, 0x1C89, 0x1C8A},
                                                       {0xA7CB, 0xA7CB, 0x264},
                                                       {0xA7CC, 0xA7CC, 0xA7CD},
                                                       {0xA7CE, 0xA7CE, 0xA7CF},
                                                       {0xA7D2, 0xA7D2, 0xA7D3},
                                                       {0xA7D4, 0xA7D4, 0xA7D5},
                                                       {0xA7DA, 0xA7DA, 0xA7DB},
                                                       {0xA7DC, 0xA7DC, 0x19B},
                                                       {0x10D50, 0x10D65, 0x10D70},
                                                       {0x16EA0, 0x16EB8, 0x16EBB}}};

template <typename Ranges>
auto range_of(const Ranges& ranges, char32_t point) {
  return std::ranges::find_if(
      ranges, [&](const auto& range) { return point >= range.first && point <= range.last; });
}

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

Points decomposed(std::string_view text, utf8proc_option_t options) {
  Points points;
  points.reserve(text.size());
  std::array<utf8proc_int32_t, kLongestDecomposition> parts{};
  int boundary = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    at += point.size;
    if (range_of(kYounger, point.value) != kYounger.end()) {
      points.push_back(static_cast<utf8proc_int32_t>(point.value));
      continue;
    }
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(point.value), parts.data(),
                                static_cast<utf8proc_ssize_t>(parts.size()), options, &boundary);
    CHECK(count >= 0 && static_cast<std::size_t>(count) <= parts.size());
    points.insert(points.end(), parts.begin(), parts.begin() + count);
  }
  return points;
}

char32_t lowercase_of(char32_t point) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point)));
}

int combining_class(utf8proc_int32_t point) {
  return utf8proc_get_property(point)->combining_class;
}

// utf8proc_decompose would do this by swapping neighbours: a long run of marks takes it hours.
void sort_marks(Points& points) {
  for (auto begin = points.begin(); begin != points.end();) {
    if (combining_class(*begin) == 0) {
      ++begin;
      continue;
    }
    const auto end =
        std::find_if(begin, points.end(), [](auto point) { return combining_class(point) == 0; });
    std::stable_sort(begin, end,
                     [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

}  // namespace

std::string in_form(std::string_view text, UnicodeForm form) {
  if (is_ascii(text)) return std::string(text);
  const bool composes = form == UnicodeForm::nfc || form == UnicodeForm::nfkc;
  const bool compatible = form == UnicodeForm::nfkc || form == UnicodeForm::nfkd;
  const int how = UTF8PROC_STABLE | (composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                  (compatible ? UTF8PROC_COMPAT : 0);
  const auto options = static_cast<utf8proc_option_t>(how);
  Points points = decomposed(text, options);
  sort_marks(points);
  if (composes) {
    const utf8proc_ssize_t size = utf8proc_normalize_utf32(
        points.data(), static_cast<utf8proc_ssize_t>(points.size()), options);
    CHECK(size >= 0);
    points.resize(static_cast<std::size_t>(size));
  }
  std::string out;
  out.reserve(text.size());
  for (const utf8proc_int32_t point : points) append_utf8(out, static_cast<char32_t>(point));
  return out;
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    at += point.size;
    if (point.value == kCapitalDottedI) {
      out += kSmallDottedI;
      continue;
    }
    const auto young = range_of(kYoungCapitals, point.value);
    append_utf8(out, young != kYoungCapitals.end() ? young->small + (point.value - young->first)
                                                   : lowercase_of(point.value));
  }
  return out;
}

}  // namespace lowbit
