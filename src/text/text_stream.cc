#include "text/text_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "text/limits.h"
#include "text/utf8.h"

namespace lowbit {

namespace limits = tokenizer_limits;

Result<StopStrings> StopStrings::of(std::vector<std::string> strings) {
  const auto refuse = [](std::string message) {
    return usage_error("stream/bad-stop", std::move(message));
  };
  if (strings.size() > limits::kStopStrings) {
    return refuse(
        fmt::format("{} stop strings; take at most {}", strings.size(), limits::kStopStrings));
  }
  StopStrings stops;
  for (std::string& text : strings) {
    if (text.empty() || text.size() > limits::kStopStringBytes) {
      return refuse(fmt::format("a stop string of {} bytes; take 1 to {}", text.size(),
                                limits::kStopStringBytes));
    }
    if (invalid_utf8_at(text) != text.npos) return refuse("a stop string is not UTF-8");
    std::vector<std::size_t> fallback = {0};
    for (std::size_t at = 1; at < text.size(); ++at) {
      std::size_t matched = fallback.back();
      while (matched > 0 && text[matched] != text[at]) matched = fallback[matched - 1];
      fallback.push_back(text[matched] == text[at] ? matched + 1 : 0);
    }
    stops.automata_.push_back({std::move(text), std::move(fallback)});
  }
  return stops;
}

void StopStrings::Automaton::advance(char byte) {
  while (matched > 0 && (matched == text.size() || text[matched] != byte)) {
    matched = fallback[matched - 1];
  }
  if (text[matched] == byte) ++matched;
}

std::string StopStrings::pass(std::string_view text) {
  if (met_) return {};
  std::size_t begun = 0;  // bytes at the end that may belong to a stop string
  for (const char byte : text) {
    held_ += byte;
    begun = 0;
    std::size_t longest = 0;
    for (std::size_t index = 0; index < automata_.size(); ++index) {
      Automaton& automaton = automata_[index];
      automaton.advance(byte);
      begun = std::max(begun, automaton.matched);
      if (automaton.matched < automaton.text.size() || automaton.matched <= longest) continue;
      longest = automaton.matched;
      met_ = index;
    }
    if (!met_) continue;
    held_.resize(held_.size() - longest);
    return std::exchange(held_, {});
  }
  if (text.empty()) return {};
  std::string certain = held_.substr(0, held_.size() - begun);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopStrings::finish() { return std::exchange(held_, {}); }

Result<TextStream> TextStream::start(const Tokenizer& tokenizer, std::vector<std::string> stops) {
  auto strings = StopStrings::of(std::move(stops));
  if (!strings) return std::move(strings).error();
  return TextStream(tokenizer.decoding(), *std::move(strings));
}

Result<std::string> TextStream::precede(std::span<const TokenId> ids) {
  std::string text;
  for (const TokenId id : ids) {
    const Result<std::string> piece = decoding_.add(id);
    if (!piece) return piece;
    text += *piece;
  }
  return text;
}

Result<std::string> TextStream::add(TokenId id) {
  if (stop()) return std::string();
  const Result<std::string> text = decoding_.add(id);
  if (!text) return text;
  return stops_.pass(*text);
}

Result<std::string> TextStream::finish() {
  if (stop()) return std::string();
  const Result<std::string> rest = decoding_.finish();
  if (!rest) return rest;
  return stops_.pass(*rest) + stops_.finish();
}

}  // namespace lowbit
