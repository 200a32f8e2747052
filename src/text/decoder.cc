#include "text/decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/limits.h"
#include "text/metaspace.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

using StepMaker = std::function<std::unique_ptr<DecoderStep>()>;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// For steps that look at a token as a whole: collects its parts.
class WholeTokenStep : public DecoderStep {
 public:
  Status push(TokenPart part, MatchBudget& budget, TokenParts& out) final {
    token_ += part.text;
    if (!part.ends) return {};
    return take(std::exchange(token_, {}), budget, out);
  }

 protected:
  virtual Status take(std::string token, MatchBudget& budget, TokenParts& out) = 0;

 private:
  std::string token_;
};

class ByteLevelStep : public WholeTokenStep {
 public:
  Status take(std::string token, MatchBudget&, TokenParts& out) override {
    append_as_bytes(token, bytes_);
    const std::size_t certain = unfinished_utf8_at(bytes_);
    out.push_back({repaired_utf8(std::string_view(bytes_).substr(0, certain)), false});
    bytes_.erase(0, certain);
    return {};
  }
  void finish(TokenParts& out) override { out.push_back({repaired_utf8(bytes_), true}); }

 private:
  std::string bytes_;  // the beginning of a character
};

class FuseStep : public DecoderStep {
 public:
  Status push(TokenPart part, MatchBudget&, TokenParts& out) override {
    out.push_back({std::move(part.text), false});
    return {};
  }
  void finish(TokenParts& out) override { out.push_back({}); }
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

// A run of byte tokens that is no UTF-8 becomes one replacement character a byte; so none of it is
// certain before the run ends.
class ByteFallbackStep : public WholeTokenStep {
 public:
  Status take(std::string token, MatchBudget&, TokenParts& out) override {
    if (const auto byte = byte_of(token)) {
      bytes_ += *byte;
      return {};
    }
    finish(out);
    out.push_back({std::move(token)});
    return {};
  }
  void finish(TokenParts& out) override {
    if (bytes_.empty()) return;
    if (invalid_utf8_at(bytes_) == std::string::npos) {
      out.push_back({bytes_});
    } else {
      out.insert(out.end(), bytes_.size(), {std::string(kReplacement)});
    }
    bytes_.clear();
  }

 private:
  std::string bytes_;
};

struct Replacement {
  Pattern pattern;
  std::string content;
};

class ReplaceStep : public WholeTokenStep {
 public:
  explicit ReplaceStep(std::shared_ptr<const Replacement> options) : options_(std::move(options)) {}
  Status take(std::string token, MatchBudget& budget, TokenParts& out) override {
    const std::size_t limit = tokenizer_limits::grown_limit(token.size());
    auto replaced = options_->pattern.replaced(token, options_->content, limit, budget);
    if (!replaced) return std::move(replaced).error();
    out.push_back({*std::move(replaced)});
    return {};
  }

 private:
  std::shared_ptr<const Replacement> options_;
};

struct Cuts {
  std::string content;     // one character
  std::int64_t start = 0;  // at most so many of it on the left
  std::int64_t stop = 0;
};

// The characters that may be cut at the end are counted, not kept, so that a long run of them costs
// no more than any text.
class StripStep : public DecoderStep {
 public:
  explicit StripStep(Cuts cuts) : cuts_(std::move(cuts)) {}
  Status push(TokenPart part, MatchBudget&, TokenParts& out) override {
    std::string_view rest = part.text;
    for (; cut_ < cuts_.start && rest.starts_with(cuts_.content); ++cut_) {
      rest.remove_prefix(cuts_.content.size());
    }
    if (!rest.empty()) cut_ = cuts_.start;
    std::int64_t at_end = 0;
    std::size_t size = rest.size();
    for (; rest.substr(0, size).ends_with(cuts_.content); ++at_end) size -= cuts_.content.size();
    std::string text;
    if (size > 0) append(std::exchange(waiting_, 0), text);
    text += rest.substr(0, size);
    waiting_ += at_end;
    const std::int64_t certain = waiting_ - std::clamp<std::int64_t>(cuts_.stop, 0, waiting_);
    waiting_ -= certain;
    append(certain, text);
    out.push_back({std::move(text), part.ends});
    if (part.ends) cut_ = waiting_ = 0;
    return {};
  }

 private:
  void append(std::int64_t count, std::string& text) const {
    for (; count > 0; --count) text += cuts_.content;
  }

  Cuts cuts_;
  std::int64_t cut_ = 0;      // on the left, of this token
  std::int64_t waiting_ = 0;  // characters that are cut if the token ends here
};

// In the first token the mark is dropped, elsewhere it is a space.
class MetaspaceStep : public WholeTokenStep {
 public:
  explicit MetaspaceStep(const Metaspace& options)
      : mark_(Pattern::literal(options.replacement)),
        drops_(options.prepend != Metaspace::Prepend::never) {}
  Status take(std::string token, MatchBudget& budget, TokenParts& out) override {
    auto text =
        mark_.replaced(token, std::exchange(drops_, false) ? "" : " ", token.size(), budget);
    if (!text) return std::move(text).error();
    out.push_back({*std::move(text)});
    return {};
  }

 private:
  Pattern mark_;
  bool drops_;
};

Result<StepMaker> read_replace(const JsonPart& part) {
  auto pattern = Pattern::read(part);
  if (!pattern) return std::move(pattern).error();
  auto content = string_field(part, "content", "");
  if (!content) return std::move(content).error();
  const auto options =
      std::make_shared<const Replacement>(Replacement{*std::move(pattern), *std::move(content)});
  return StepMaker([options] { return std::make_unique<ReplaceStep>(options); });
}

Result<StepMaker> read_strip(const JsonPart& part) {
  auto content = string_field(part, "content", "");
  if (!content) return std::move(content).error();
  if (content->empty() || code_point_at(*content, 0).size != content->size()) {
    return syntax_error(part.name + ": \"content\" is not one character");
  }
  const auto start = integer_field(part, "start", 0);
  if (!start) return start.error();
  const auto stop = integer_field(part, "stop", 0);
  if (!stop) return stop.error();
  return StepMaker([cuts = Cuts{*std::move(content), *start, *stop}] {
    return std::make_unique<StripStep>(cuts);
  });
}

Result<StepMaker> read_metaspace_step(const JsonPart& part) {
  auto options = read_metaspace(part);
  if (!options) return std::move(options).error();
  return StepMaker(
      [options = *std::move(options)] { return std::make_unique<MetaspaceStep>(options); });
}

Result<StepMaker> read_step(const JsonPart& part) {
  if (part.type == "ByteLevel") return StepMaker(std::make_unique<ByteLevelStep>);
  if (part.type == "ByteFallback") return StepMaker(std::make_unique<ByteFallbackStep>);
  if (part.type == "Fuse") return StepMaker(std::make_unique<FuseStep>);
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

DecoderRun Decoder::start() const {
  DecoderRun run;
  for (const auto& make_step : steps_) run.steps_.push_back(make_step());
  run.joins_with_spaces_ = joins_with_spaces_;
  return run;
}

Status DecoderRun::push(TokenParts tokens, MatchBudget& budget, std::string& text) {
  return through(0, std::move(tokens), budget, text);
}

Status DecoderRun::finish(MatchBudget& budget, std::string& text) {
  for (std::size_t index = 0; index < steps_.size(); ++index) {
    TokenParts last;
    steps_[index]->finish(last);
    Status done = through(index + 1, std::move(last), budget, text);
    if (!done) return done;
  }
  return {};
}

Status DecoderRun::through(std::size_t first_step, TokenParts parts, MatchBudget& budget,
                           std::string& text) {
  for (std::size_t index = first_step; index < steps_.size(); ++index) {
    TokenParts next;
    for (TokenPart& part : parts) {
      Status done = steps_[index]->push(std::move(part), budget, next);
      if (!done) return done;
    }
    parts = std::move(next);
  }
  for (const TokenPart& part : parts) {
    if (joins_with_spaces_ && std::exchange(begun_, true)) text += ' ';
    text += part.text;
  }
  return {};
}

}  // namespace lowbit
