// The "added_tokens" of tokenizer.json: texts that become one token before anything else is done,
// such as <|begin_of_text|>.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/token_trie.h"

namespace lowbit {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the spaces on its left along
  bool rstrip = false;
  bool normalized = false;  // found in the normalised text, else in the text as given
  bool special = false;     // left out by decode on request
};

// A stretch of text: an added token, or text between them.
struct Segment {
  static constexpr TokenId kText = -1;
  Span span;
  TokenId id = kText;
};

class AddedTokens {
 public:
  static Result<AddedTokens> read(const Json& tokenizer, const Bpe& bpe,
                                  const Normalizer& normalizer);

  std::vector<Segment> split_original(std::string_view text) const;
  std::vector<Segment> split_normalized(std::string_view text) const;

  const AddedToken* token_of(TokenId id) const;   // nullptr if it is none
  TokenId id_of(std::string_view content) const;  // -1 if it is none
  TokenId end_id() const { return end_id_; }      // above every id

 private:
  Status add(AddedToken token, const Bpe& bpe);
  Status index(const Normalizer& normalizer);
  std::vector<Segment> split(std::string_view text, const TokenTrie& trie) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<TokenId, std::size_t> index_of_id_;
  std::unordered_map<std::string, std::size_t> index_of_content_;
  TokenTrie original_;
  TokenTrie normalized_;
  TokenId end_id_ = 0;
};

}  // namespace lowbit
