#include "text/decoder.h"

#include <optional>

#include "text/byte_alphabet.h"
#include "text/limits.h"
#include "text/metaspace.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

using Tokens = std::vector<std::string>;
using StepResult = Result<std::unique_ptr<DecoderStep>>;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

class ByteLevelStep : public DecoderStep {
 public:
  Result<Tokens> apply(Tokens tokens, MatchBudget&) const override {
    std::string bytes;
    for (const std::string& token : tokens) append_as_bytes(token, bytes);
    return Tokens{repaired_utf8(bytes)};
  }
};

class FuseStep : public DecoderStep {
 public:
  Result<Tokens> apply(Tokens tokens, MatchBudget&) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    return Tokens{std::move(all)};
  }
};

// The byte of "<0xE2>".
std::optional<char> byte_of(std::string_view token) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = digit(token[3]);
  const int low = digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

// A run of byte tokens that is no UTF-8 becomes one replacement character a byte.
class ByteFallbackStep : public DecoderStep {
 public:
  Result<Tokens> apply(Tokens tokens, MatchBudget&) const override {
    Tokens out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (invalid_utf8_at(bytes) == std::string::npos) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), std::string(kReplacement));
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const auto byte = byte_of(token)) {
        bytes += *byte;
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    return out;
  }
};

class ReplaceStep : public DecoderStep {
 public:
  ReplaceStep(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Result<Tokens> apply(Tokens tokens, MatchBudget& budget) const override {
    for (std::string& token : tokens) {
      auto replaced =
          pattern_.replaced(token, content_, tokenizer_limits::grown_limit(token.size()), budget);
      if (!replaced) return std::move(replaced).error();
      token = *std::move(replaced);
    }
    return tokens;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

struct Cuts {
  std::int64_t start = 0;  // at most so many of the character on the left
  std::int64_t stop = 0;
};

class StripStep : public DecoderStep {
 public:
  StripStep(std::string content, Cuts cuts) : content_(std::move(content)), cuts_(cuts) {}
  Result<Tokens> apply(Tokens tokens, MatchBudget&) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (std::int64_t n = 0; n < cuts_.start && rest.starts_with(content_); ++n) {
        rest.remove_prefix(content_.size());
      }
      for (std::int64_t n = 0; n < cuts_.stop && rest.ends_with(content_); ++n) {
        rest.remove_suffix(content_.size());
      }
      if (rest.size() != token.size()) token = std::string(rest);
    }
    return tokens;
  }

 private:
  std::string content_;  // one character
  Cuts cuts_;
};

// In the first token the mark is dropped, elsewhere it is a space.
class MetaspaceStep : public DecoderStep {
 public:
  explicit MetaspaceStep(Metaspace options) : options_(std::move(options)) {}
  Result<Tokens> apply(Tokens tokens, MatchBudget& budget) const override {
    const Pattern mark = Pattern::literal(options_.replacement);
    for (std::size_t index = 0; index < tokens.size(); ++index) {
      const bool drops = index == 0 && options_.prepend != Metaspace::Prepend::never;
      auto text = mark.replaced(tokens[index], drops ? "" : " ", tokens[index].size(), budget);
      if (!text) return std::move(text).error();
      tokens[index] = *std::move(text);
    }
    return tokens;
  }

 private:
  Metaspace options_;
};

StepResult read_replace(const JsonPart& part) {
  auto pattern = Pattern::read(part);
  if (!pattern) return std::move(pattern).error();
  auto content = string_field(part, "content", "");
  if (!content) return std::move(content).error();
  return StepResult(std::make_unique<ReplaceStep>(*std::move(pattern), *std::move(content)));
}

StepResult read_strip(const JsonPart& part) {
  auto content = string_field(part, "content", "");
  if (!content) return std::move(content).error();
  if (content->empty() || code_point_at(*content, 0).size != content->size()) {
    return syntax_error(part.name + ": \"content\" is not one character");
  }
  const auto start = integer_field(part, "start", 0);
  if (!start) return start.error();
  const auto stop = integer_field(part, "stop", 0);
  if (!stop) return stop.error();
  return StepResult(std::make_unique<StripStep>(*std::move(content), Cuts{*start, *stop}));
}

StepResult read_metaspace_step(const JsonPart& part) {
  auto options = read_metaspace(part);
  if (!options) return std::move(options).error();
  return StepResult(std::make_unique<MetaspaceStep>(*std::move(options)));
}

StepResult read_step(const JsonPart& part) {
  if (part.type == "ByteLevel") return StepResult(std::make_unique<ByteLevelStep>());
  if (part.type == "ByteFallback") return StepResult(std::make_unique<ByteFallbackStep>());
  if (part.type == "Fuse") return StepResult(std::make_unique<FuseStep>());
  if (part.type == "Replace") return read_replace(part);
  if (part.type == "Strip") return read_strip(part);
  if (part.type == "Metaspace") return read_metaspace_step(part);
  return unsupported(part.name,
                     "ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, Sequence");
}

}  // namespace

Result<Decoder> Decoder::read(const Json& tokenizer) {
  auto parts = parts_of(tokenizer, "decoder", "decoders");
  if (!parts) return std::move(parts).error();
  Decoder decoder;
  decoder.joins_with_spaces_ = find_field(tokenizer, "decoder") == nullptr;
  for (const JsonPart& part : *parts) {
    auto step = read_step(part);
    if (!step) return std::move(step).error();
    decoder.steps_.push_back(*std::move(step));
  }
  return decoder;
}

Result<std::string> Decoder::apply(std::vector<std::string> tokens, MatchBudget& budget) const {
  for (const auto& step : steps_) {
    auto next = step->apply(std::move(tokens), budget);
    if (!next) return std::move(next).error();
    tokens = *std::move(next);
  }
  std::string text;
  for (std::size_t index = 0; index < tokens.size(); ++index) {
    if (joins_with_spaces_ && index > 0) text += ' ';
    text += tokens[index];
  }
  return text;
}

}  // namespace lowbit
