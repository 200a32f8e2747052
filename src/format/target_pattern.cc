#include "format/target_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>

namespace lowbit {
namespace {

// Patterns come from files: these bound the time and memory of one match.
constexpr std::size_t kPatternBytesLimit = 1 << 16;
constexpr std::uint32_t kParenthesesLimit = 64;
constexpr std::uint32_t kMatchLimit = 100'000;
constexpr std::uint32_t kDepthLimit = 10'000;
constexpr std::uint32_t kHeapLimitKib = 16 * 1024;

constexpr std::string_view kPatternMark = "re:";

std::string_view class_name(ModuleClass kind) {
  return kind == ModuleClass::linear ? "Linear" : "Embedding";
}

template <auto function>
struct Release {
  template <typename T>
  void operator()(T* pointer) const {
    function(pointer);
  }
};

std::string pcre_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return std::string(text.begin(), std::find(text.begin(), text.end(), PCRE2_UCHAR{0}));
}

}  // namespace

struct TargetPattern::Regex {
  std::unique_ptr<pcre2_code, Release<pcre2_code_free>> code;
  std::unique_ptr<pcre2_match_context, Release<pcre2_match_context_free>> limits;
  std::unique_ptr<pcre2_match_data, Release<pcre2_match_data_free>> data;
};

TargetPattern::TargetPattern() = default;
TargetPattern::~TargetPattern() = default;
TargetPattern::TargetPattern(TargetPattern&&) noexcept = default;
TargetPattern& TargetPattern::operator=(TargetPattern&&) noexcept = default;

Result<TargetPattern> TargetPattern::parse(std::string_view target) {
  TargetPattern result;
  if (!target.starts_with(kPatternMark)) {
    result.text_ = target;
    return result;
  }
  const std::string_view pattern = target.substr(kPatternMark.size());
  result.text_ = pattern;
  if (pattern.size() > kPatternBytesLimit) {
    return bad_input(
        "packed/bad-config",
        fmt::format("quantization_config: a target pattern of {} bytes; at most {} are read",
                    pattern.size(), kPatternBytesLimit));
  }
  const std::unique_ptr<pcre2_compile_context, Release<pcre2_compile_context_free>> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_parens_nest_limit(context.get(), kParenthesesLimit);
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto regex = std::make_unique<Regex>();
  regex->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_ANCHORED | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &error,
                                  &offset, context.get()));
  if (regex->code == nullptr) {
    return bad_input("packed/bad-config",
                     fmt::format("quantization_config: target pattern '{}': {} at byte {}", pattern,
                                 pcre_message(error), offset));
  }
  regex->limits.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(regex->limits.get(), kMatchLimit);
  pcre2_set_depth_limit(regex->limits.get(), kDepthLimit);
  pcre2_set_heap_limit(regex->limits.get(), kHeapLimitKib);
  regex->data.reset(pcre2_match_data_create(1, nullptr));
  result.regex_ = std::move(regex);
  return result;
}

Result<TargetMatch> TargetPattern::match(const std::string& module, ModuleClass kind) const {
  if (regex_ == nullptr) {
    if (text_ == module) return TargetMatch::exact;
    return text_ == class_name(kind) ? TargetMatch::by_class : TargetMatch::none;
  }
  const int found = pcre2_match(regex_->code.get(), reinterpret_cast<PCRE2_SPTR>(module.data()),
                                module.size(), 0, 0, regex_->data.get(), regex_->limits.get());
  if (found >= 0) return TargetMatch::by_pattern;
  if (found == PCRE2_ERROR_NOMATCH) return TargetMatch::none;
  return bad_input(
      "packed/bad-config",
      fmt::format("quantization_config: target pattern '{}' on module '{}': {}; write a "
                  "simpler pattern",
                  text_, module, pcre_message(found)));
}

Result<std::vector<TargetPattern>> parse_targets(const std::vector<std::string>& texts) {
  if (texts.size() > kTargetsLimit) {
    return bad_input(
        "packed/bad-config",
        fmt::format("config.json: quantization_config: {} targets; at most {} are read",
                    texts.size(), kTargetsLimit));
  }
  std::vector<TargetPattern> patterns;
  for (const std::string& text : texts) {
    Result<TargetPattern> pattern = TargetPattern::parse(text);
    if (!pattern) return pattern.error();
    patterns.push_back(*std::move(pattern));
  }
  return patterns;
}

Result<TargetMatch> closest_match(const std::vector<TargetPattern>& targets, const Module& module) {
  TargetMatch best = TargetMatch::none;
  for (const TargetPattern& target : targets) {
    Result<TargetMatch> match = target.match(module.name, module.kind);
    if (!match) return match;
    best = std::max(best, *match);
  }
  return best;
}

}  // namespace lowbit
