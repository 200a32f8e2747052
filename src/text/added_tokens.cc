#include "text/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/limits.h"
#include "text/unicode_class.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

namespace limits = tokenizer_limits;

Error bad_token(std::size_t index, const std::string& problem) {
  return bad_input("tokenizer/bad-vocabulary", fmt::format("added_tokens: {}: {}", index, problem));
}

Result<AddedToken> read_token(const Json& json, std::size_t index) {
  if (!json.is_object()) return bad_token(index, "expected an object");
  const JsonPart part{&json, fmt::format("added_tokens: {}", index), ""};
  AddedToken token;
  auto content = string_field(part, "content", "");
  if (!content) return std::move(content).error();
  token.content = *std::move(content);
  const auto id = integer_field(part, "id", -1);
  if (!id) return id.error();
  if (*id < 0 || *id >= limits::kTokens) {
    return bad_token(index, fmt::format("token '{}' has id {}, expected 0 to {}",
                                        token.content.substr(0, 80), *id, limits::kTokens - 1));
  }
  token.id = static_cast<TokenId>(*id);
  if (token.content.size() > limits::kAddedTokenBytes) {
    return bad_token(index, fmt::format("has {} bytes, expected at most {}", token.content.size(),
                                        limits::kAddedTokenBytes));
  }
  const struct {
    const char* key;
    bool* value;
  } flags[] = {{"single_word", &token.single_word},
               {"lstrip", &token.lstrip},
               {"rstrip", &token.rstrip},
               {"normalized", &token.normalized},
               {"special", &token.special}};
  for (const auto& flag : flags) {
    const auto value = bool_field(part, flag.key, false);
    if (!value) return value.error();
    *flag.value = *value;
  }
  return token;
}

bool word_ends_at(std::string_view text, std::size_t at) {
  return at > 0 && is_of_class(code_point_before(text, at).value, char_class::kWord);
}
bool word_starts_at(std::string_view text, std::size_t at) {
  return at < text.size() && is_of_class(code_point_at(text, at).value, char_class::kWord);
}

std::size_t spaces_begin(std::string_view text, std::size_t end, std::size_t floor) {
  while (end > floor) {
    const CodePoint point = code_point_before(text, end);
    if (!is_of_class(point.value, char_class::kSpace)) break;
    end -= point.size;
  }
  return end;
}
std::size_t spaces_end(std::string_view text, std::size_t begin) {
  while (begin < text.size()) {
    const CodePoint point = code_point_at(text, begin);
    if (!is_of_class(point.value, char_class::kSpace)) break;
    begin += point.size;
  }
  return begin;
}

Segment segment(std::size_t begin, std::size_t end, TokenId id) {
  return {{static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)}, id};
}

}  // namespace

Result<AddedTokens> AddedTokens::read(const Json& tokenizer, const Bpe& bpe,
                                      const Normalizer& normalizer) {
  AddedTokens added;
  const Json* list = find_field(tokenizer, "added_tokens");
  if (list == nullptr) return added;
  if (!list->is_array()) return syntax_error("\"added_tokens\" is not an array");
  for (std::size_t index = 0; index < list->size(); ++index) {
    auto token = read_token((*list)[index], index);
    if (!token) return std::move(token).error();
    if (auto done = added.add(*std::move(token), bpe); !done) return std::move(done).error();
  }
  if (auto done = added.index(normalizer); !done) return std::move(done).error();
  return added;
}

Status AddedTokens::add(AddedToken token, const Bpe& bpe) {
  const std::size_t index = tokens_.size();
  const std::string* known = bpe.token_of(token.id);
  if (known != nullptr && *known != token.content) {
    return bad_token(index, fmt::format("token '{}' has id {}, which is '{}' in the vocabulary",
                                        token.content, token.id, known->substr(0, 80)));
  }
  const TokenId in_vocabulary = bpe.id_of(token.content);
  if (in_vocabulary >= 0 && in_vocabulary != token.id) {
    return bad_token(index, fmt::format("token '{}' has id {}, and {} in the vocabulary",
                                        token.content, token.id, in_vocabulary));
  }
  if (!index_of_id_.emplace(token.id, index).second) {
    return bad_token(index, fmt::format("id {} comes twice", token.id));
  }
  if (!index_of_content_.emplace(token.content, index).second) {
    return bad_token(index, fmt::format("token '{}' comes twice", token.content));
  }
  end_id_ = std::max(end_id_, token.id + 1);
  tokens_.push_back(std::move(token));
  return {};
}

Status AddedTokens::index(const Normalizer& normalizer) {
  MatchBudget budget;
  for (std::size_t index = 0; index < tokens_.size(); ++index) {
    const AddedToken& token = tokens_[index];
    const auto value = static_cast<std::int32_t>(index);
    if (!token.normalized) {
      original_.add(token.content, value);
      continue;
    }
    const auto text = normalizer.apply({token.content, true}, budget);
    if (!text) return text.error();
    if (text->text.size() > limits::kAddedTokenBytes) {
      return bad_token(index, fmt::format("has {} bytes once normalised, expected at most {}",
                                          text->text.size(), limits::kAddedTokenBytes));
    }
    normalized_.add(text->text, value);
  }
  return {};
}

std::vector<Segment> AddedTokens::split_original(std::string_view text) const {
  return split(text, original_);
}
std::vector<Segment> AddedTokens::split_normalized(std::string_view text) const {
  return split(text, normalized_);
}

// The longest token at the leftmost place, then on from its end, also where it was turned down.
std::vector<Segment> AddedTokens::split(std::string_view text, const TokenTrie& trie) const {
  std::vector<Segment> segments;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const TokenTrie::Match match = trie.longest_at(text, at);
    if (match.value == TokenTrie::kNone) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(match.value)];
    std::size_t begin = at;
    std::size_t end = at + match.size;
    at = end;
    if (token.single_word && (word_ends_at(text, begin) || word_starts_at(text, end))) continue;
    if (token.lstrip) begin = std::max(done, spaces_begin(text, begin, std::min(done, begin)));
    if (token.rstrip) end = spaces_end(text, end);
    if (begin >= end) continue;  // spaces that the token before has taken
    if (done < begin) segments.push_back(segment(done, begin, Segment::kText));
    segments.push_back(segment(begin, end, token.id));
    done = end;
  }
  if (done < text.size()) segments.push_back(segment(done, text.size(), Segment::kText));
  return segments;
}

const AddedToken* AddedTokens::token_of(TokenId id) const {
  const auto found = index_of_id_.find(id);
  return found == index_of_id_.end() ? nullptr : &tokens_[found->second];
}

TokenId AddedTokens::id_of(std::string_view content) const {
  const auto found = index_of_content_.find(std::string(content));
  return found == index_of_content_.end() ? -1 : tokens_[found->second].id;
}

}  // namespace lowbit
