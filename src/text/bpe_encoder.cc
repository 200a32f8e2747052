// Merges by a queue over a linked list: n log n in the longest stretch that merges may cross, not
// in the text, which SentencePiece models encode as a single word.
#include "text/bpe_encoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/utf8.h"

namespace lowbit {
namespace {

constexpr std::size_t kUncutBytes = 32;       // shorter words are not worth a cut
constexpr std::size_t kRememberedBytes = 64;  // longer words hardly come twice
constexpr std::size_t kRememberedWords = 1 << 16;

}  // namespace

Status BpeEncoder::encode(std::string_view word, std::vector<TokenId>& ids) {
  if (bpe_.options_.ignore_merges) {
    if (const TokenId id = bpe_.id_of(word); id >= 0) {
      ids.push_back(id);
      return {};
    }
  }
  if (word.size() <= kUncutBytes) return encode_chunk(word, ids);
  std::size_t begin = 0;
  CodePoint left;
  bool left_known = false;
  for (std::size_t at = 0; at < word.size();) {
    const CodePoint right = code_point_at(word, at);
    const bool right_known = bpe_.id_of_character(right.value) >= 0;
    // Unknown characters stay in one chunk: neighbours may fuse into one unk_token.
    if (left_known && right_known && !bpe_.may_join(left.value, right.value)) {
      if (auto done = encode_chunk(word.substr(begin, at - begin), ids); !done) return done;
      begin = at;
    }
    left = right;
    left_known = right_known;
    at += right.size;
  }
  return encode_chunk(word.substr(begin), ids);
}

Status BpeEncoder::encode_chunk(std::string_view chunk, std::vector<TokenId>& ids) {
  const bool remembers = chunk.size() <= kRememberedBytes;
  if (remembers) {
    if (const auto known = remembered_.find(chunk); known != remembered_.end()) {
      const auto begin = remembered_ids_.begin();
      ids.insert(ids.end(), begin + static_cast<std::ptrdiff_t>(known->second.begin),
                 begin + static_cast<std::ptrdiff_t>(known->second.end));
      return {};
    }
  }
  if (auto done = read_symbols(chunk); !done) return done;
  merge_symbols();
  const std::size_t before = ids.size();
  for (const Symbol& symbol : symbols_) {
    if (!symbol.gone) ids.push_back(symbol.id);
  }
  if (remembers && remembered_.size() < kRememberedWords) {
    const std::size_t begin = remembered_ids_.size();
    remembered_ids_.insert(remembered_ids_.end(), ids.begin() + static_cast<std::ptrdiff_t>(before),
                           ids.end());
    remembered_.emplace(chunk, Remembered{begin, remembered_ids_.size()});
  }
  return {};
}

// An unk_token is held back until the next known character, so that those in a row can fuse. Bytes
// do not release it: the library's order where only some byte tokens exist.
Status BpeEncoder::read_symbols(std::string_view chunk) {
  symbols_.clear();
  const Bpe::Options& options = bpe_.options_;
  TokenId held = -1;
  for (std::size_t at = 0; at < chunk.size();) {
    const CodePoint point = code_point_at(chunk, at);
    const std::string_view character = chunk.substr(at, point.size);
    at += point.size;
    if (const TokenId id = bpe_.id_of_character(point.value); id >= 0) {
      if (held >= 0) add_symbol(held);
      held = -1;
      add_symbol(id);
      continue;
    }
    if (options.byte_fallback && add_bytes(character)) continue;
    if (!options.has_unknown_token) continue;
    if (held >= 0 && options.fuse_unknown) continue;
    if (held >= 0) add_symbol(held);
    held = bpe_.id_of(options.unknown_token);
    if (held < 0) {
      return bad_input("tokenizer/unknown-token",
                       fmt::format("character '{}' is not in the vocabulary and neither is "
                                   "unk_token '{}', which should stand for it",
                                   character, options.unknown_token.substr(0, 80)));
    }
  }
  if (held >= 0) add_symbol(held);
  return {};
}

bool BpeEncoder::add_bytes(std::string_view character) {
  const auto id_of_byte = [&](char byte) {
    return bpe_.byte_ids_[static_cast<unsigned char>(byte)];
  };
  if (std::ranges::any_of(character, [&](char byte) { return id_of_byte(byte) < 0; })) return false;
  for (const char byte : character) add_symbol(id_of_byte(byte));
  return true;
}

void BpeEncoder::add_symbol(TokenId id) {
  const auto position = static_cast<std::int32_t>(symbols_.size());
  if (position > 0) symbols_.back().next = position;
  symbols_.push_back({.id = id, .previous = position - 1});
}

void BpeEncoder::merge_symbols() {
  for (std::size_t position = 0; position + 1 < symbols_.size(); ++position) {
    propose(static_cast<std::int32_t>(position));
  }
  while (!queue_.empty()) merge_at(queue_.pop());
}

// The neighbours may have changed since the candidate was proposed.
void BpeEncoder::merge_at(const MergeQueue::Candidate& candidate) {
  Symbol& left = symbols_[static_cast<std::size_t>(candidate.position)];
  if (left.gone || left.next == kNone) return;
  Symbol& right = symbols_[static_cast<std::size_t>(left.next)];
  const Merge* merge = bpe_.merges_.find(left.id, right.id);
  if (merge == nullptr || merge->merged != candidate.merged) return;
  left.id = candidate.merged;
  left.next = right.next;
  right.gone = true;
  if (left.next != kNone)
    symbols_[static_cast<std::size_t>(left.next)].previous = candidate.position;
  // From left to right: the queue likes its positions in order.
  if (left.previous != kNone) propose(left.previous);
  if (left.next != kNone) propose(candidate.position);
}

void BpeEncoder::propose(std::int32_t position) {
  const Symbol& left = symbols_[static_cast<std::size_t>(position)];
  const Symbol& right = symbols_[static_cast<std::size_t>(left.next)];
  const Merge* merge = bpe_.merges_.find(left.id, right.id);
  if (merge != nullptr) queue_.push(*merge, position);
}

}  // namespace lowbit
