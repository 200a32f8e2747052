// The order of the Hugging Face library: added tokens in the text as given, normaliser, added
// tokens in the normalised text, pre-tokenizer, model, post-processor. "truncation" and "padding"
// of the file are for batches of sentences and are not applied.
#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/bpe_encoder.h"
#include "text/decoder.h"
#include "text/limits.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace lowbit {

namespace limits = tokenizer_limits;

class Tokenizer::Impl {
 public:
  Status read(const Json& json);
  Result<std::vector<TokenId>> encode(std::string_view text, SpecialTokens special) const;
  Result<std::vector<TokenId>> encode_parts(std::span<const TextPart> parts) const;
  DecoderRun start_decoding() const { return decoder_.start(); }
  // Appends the text of an id; none for a special token that is to be skipped.
  Status add_token(TokenId id, SkipSpecial skip, TokenParts& tokens) const;
  TokenId end_id() const { return std::max(bpe_.end_id(), added_.end_id()); }
  TokenId id_of(std::string_view token) const {
    const TokenId id = added_.id_of(token);
    return id >= 0 ? id : bpe_.id_of(token);
  }

 private:
  struct Work {  // of one encode
    explicit Work(const Bpe& bpe) : encoder(bpe) {}
    BpeEncoder encoder;
    MatchBudget budget;
    std::vector<TokenId> ids;
  };
  Status encode_between(NormalizedText text, Work& work) const;
  Status encode_words(Pieces pieces, Work& work) const;
  Status check_template_ids(const std::vector<TokenId>& ids) const;
  const std::string* token_of(TokenId id) const;

  Bpe bpe_;
  Normalizer normalizer_;
  AddedTokens added_;
  PreTokenizer pre_tokenizer_;
  PostProcessor post_processor_;
  Decoder decoder_;
};

namespace {

// Moves a part's value into its place.
template <typename T>
Status store(Result<T> result, T& place) {
  if (!result) return std::move(result).error();
  place = *std::move(result);
  return {};
}

Status check_text(std::string_view text) {
  if (text.size() > limits::kTextBytes) {
    return bad_input("tokenizer/too-long", fmt::format("the text has {} bytes, expected at most {}",
                                                       text.size(), limits::kTextBytes));
  }
  if (const std::size_t at = invalid_utf8_at(text); at != text.npos) {
    return bad_input("tokenizer/not-utf8",
                     fmt::format("the text is not UTF-8 at byte {}; convert it first", at));
  }
  return {};
}

Pieces whole(NormalizedText text) {
  Pieces pieces;
  if (!text.text.empty()) {
    pieces.spans = {{0, static_cast<std::uint32_t>(text.text.size())}};
  }
  pieces.text = std::move(text.text);
  pieces.starts_text = text.starts_text;
  return pieces;
}

}  // namespace

Status Tokenizer::Impl::read(const Json& json) {
  if (!json.is_object()) return syntax_error("is not a JSON object");
  if (auto done = store(Bpe::read(json), bpe_); !done) return done;
  if (auto done = store(Normalizer::read(json), normalizer_); !done) return done;
  if (auto done = store(AddedTokens::read(json, bpe_, normalizer_), added_); !done) return done;
  if (auto done = store(PreTokenizer::read(json), pre_tokenizer_); !done) return done;
  if (auto done = store(PostProcessor::read(json), post_processor_); !done) return done;
  if (auto done = store(Decoder::read(json), decoder_); !done) return done;
  if (auto done = check_template_ids(post_processor_.before()); !done) return done;
  return check_template_ids(post_processor_.after());
}

Status Tokenizer::Impl::check_template_ids(const std::vector<TokenId>& ids) const {
  for (const TokenId id : ids) {
    if (token_of(id) != nullptr) continue;
    return bad_input("tokenizer/bad-vocabulary",
                     fmt::format("post_processor: id {} is not in the vocabulary", id));
  }
  return {};
}

Result<std::vector<TokenId>> Tokenizer::Impl::encode(std::string_view text,
                                                     SpecialTokens special) const {
  if (Status checked = check_text(text); !checked) return std::move(checked).error();
  Work work(bpe_);
  if (special == SpecialTokens::add) work.ids = post_processor_.before();
  for (const Segment& segment : added_.split_original(text)) {
    if (segment.id != Segment::kText) {
      work.ids.push_back(segment.id);
      continue;
    }
    const Span span = segment.span;
    NormalizedText between{std::string(text.substr(span.begin, span.end - span.begin)),
                           span.begin == 0};
    if (auto done = encode_between(std::move(between), work); !done) return std::move(done).error();
  }
  if (special == SpecialTokens::add) {
    const auto& after = post_processor_.after();
    work.ids.insert(work.ids.end(), after.begin(), after.end());
  }
  return std::move(work.ids);
}

Result<std::vector<TokenId>> Tokenizer::Impl::encode_parts(std::span<const TextPart> parts) const {
  Work work(bpe_);
  for (std::size_t index = 0; index < parts.size(); ++index) {
    const TextPart& part = parts[index];
    if (part.id != TextPart::kText) {
      work.ids.push_back(part.id);
      continue;
    }
    if (Status checked = check_text(part.text); !checked) return std::move(checked).error();
    auto normalized = normalizer_.apply({part.text, index == 0}, work.budget);
    if (!normalized) return std::move(normalized).error();
    if (auto done = encode_words(whole(*std::move(normalized)), work); !done) {
      return std::move(done).error();
    }
  }
  return std::move(work.ids);
}

Status Tokenizer::Impl::encode_between(NormalizedText text, Work& work) const {
  const auto normalized = normalizer_.apply(std::move(text), work.budget);
  if (!normalized) return normalized.error();
  for (const Segment& segment : added_.split_normalized(normalized->text)) {
    if (segment.id != Segment::kText) {
      work.ids.push_back(segment.id);
      continue;
    }
    const Span span = segment.span;
    NormalizedText between{normalized->text.substr(span.begin, span.end - span.begin),
                           normalized->starts_text && span.begin == 0};
    if (auto done = encode_words(whole(std::move(between)), work); !done) return done;
  }
  return {};
}

Status Tokenizer::Impl::encode_words(Pieces pieces, Work& work) const {
  const auto words = pre_tokenizer_.apply(std::move(pieces), work.budget);
  if (!words) return words.error();
  for (const Span& span : words->spans) {
    if (auto done = work.encoder.encode(words->view(span), work.ids); !done) return done;
  }
  return {};
}

const std::string* Tokenizer::Impl::token_of(TokenId id) const {
  const AddedToken* added = added_.token_of(id);
  return added != nullptr ? &added->content : bpe_.token_of(id);
}

Status Tokenizer::Impl::add_token(TokenId id, SkipSpecial skip, TokenParts& tokens) const {
  const std::string* token = token_of(id);
  if (token == nullptr) {
    return bad_input("tokenizer/unknown-token",
                     fmt::format("id {} is not in the vocabulary of {} ids", id, end_id()));
  }
  const AddedToken* added = added_.token_of(id);
  if (skip == SkipSpecial::no || added == nullptr || !added->special) tokens.push_back({*token});
  return {};
}

struct Tokenizer::Decoding::State {
  const Impl& tokenizer;
  SkipSpecial skip;
  DecoderRun run;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Result<Tokenizer> Tokenizer::load(FileSystem& files, const Path& model_folder) {
  const Path path = model_folder / "tokenizer.json";
  if (!files.exists(path)) {
    return bad_input("tokenizer/missing",
                     path.string() + ": not found; the model folder needs its tokenizer.json");
  }
  const auto text = files.read(path, limits::kFileBytes);
  if (!text) return text.error();
  auto tokenizer = parse(*text);
  if (!tokenizer) return within(path.string(), std::move(tokenizer).error());
  return tokenizer;
}

Result<Tokenizer> Tokenizer::parse(std::string_view json) {
  auto parsed = parse_json(json);
  if (!parsed) return syntax_error(parsed.error().message);
  auto impl = std::make_unique<Impl>();
  if (auto done = impl->read(*parsed); !done) return std::move(done).error();
  return Tokenizer(std::move(impl));
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  return impl_->encode(text, special);
}

Result<std::vector<TokenId>> Tokenizer::encode_parts(std::span<const TextPart> parts) const {
  return impl_->encode_parts(parts);
}

Result<std::string> Tokenizer::decode(std::span<const TokenId> ids, SkipSpecial skip) const {
  TokenParts tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    if (auto done = impl_->add_token(id, skip, tokens); !done) return std::move(done).error();
  }
  DecoderRun run = impl_->start_decoding();
  MatchBudget budget;
  std::string text;
  if (auto done = run.push(std::move(tokens), budget, text); !done) return std::move(done).error();
  if (auto done = run.finish(budget, text); !done) return std::move(done).error();
  return text;
}

Tokenizer::Decoding Tokenizer::decoding(SkipSpecial skip) const {
  return Decoding(
      std::make_unique<Decoding::State>(Decoding::State{*impl_, skip, impl_->start_decoding()}));
}

Tokenizer::Decoding::Decoding(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Decoding::~Decoding() = default;
Tokenizer::Decoding::Decoding(Decoding&&) noexcept = default;
Tokenizer::Decoding& Tokenizer::Decoding::operator=(Decoding&&) noexcept = default;

Result<std::string> Tokenizer::Decoding::add(TokenId id) {
  TokenParts tokens;
  const Status known = state_->tokenizer.add_token(id, state_->skip, tokens);
  if (!known) return known.error();
  MatchBudget budget;  // of this id: a stream lasts as long as its model takes
  std::string text;
  const Status done = state_->run.push(std::move(tokens), budget, text);
  if (!done) return done.error();
  return text;
}

Result<std::string> Tokenizer::Decoding::finish() {
  MatchBudget budget;
  std::string text;
  const Status done = state_->run.finish(budget, text);
  if (!done) return done.error();
  return text;
}

std::int64_t Tokenizer::vocabulary_size() const { return impl_->end_id(); }

TokenId Tokenizer::id_of(std::string_view token) const { return impl_->id_of(token); }

}  // namespace lowbit
