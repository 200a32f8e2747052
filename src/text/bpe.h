// Byte-pair encoding: the "model" of tokenizer.json, its vocabulary and its merges.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/json_fields.h"
#include "text/merge_table.h"
#include "text/tokenizer.h"

namespace lowbit {

class Bpe {
 public:
  static Result<Bpe> read(const Json& tokenizer);

  TokenId id_of(std::string_view token) const;                             // -1 if unknown
  const std::string* token_of(TokenId id) const;                           // nullptr if unknown
  TokenId end_id() const { return static_cast<TokenId>(tokens_.size()); }  // above every id

 private:
  friend class BpeEncoder;
  struct Options {
    bool byte_fallback = false;  // an unknown character becomes its bytes' tokens <0x00>..<0xFF>
    bool fuse_unknown = false;   // neighbouring unknown characters become one unk_token
    bool ignore_merges = false;  // a word that is a token is that token, whatever the merges
    std::string unknown_token;   // empty: unknown characters are dropped, as the library does
    bool has_unknown_token = false;
  };

  Status read_options(const JsonPart& model);
  Status read_vocabulary(const Json& model);
  Status read_merges(const Json& model);
  void index_characters();
  TokenId id_of_character(char32_t point) const;
  bool may_join(char32_t left, char32_t right) const;

  Options options_;
  std::vector<std::string> tokens_;                    // by id
  std::vector<bool> is_token_;                         // ids may have gaps
  std::unordered_map<std::string_view, TokenId> ids_;  // views into tokens_
  MergeTable merges_;

  std::vector<TokenId> character_ids_;  // of the code points below 65536, or -1
  std::vector<TokenId> byte_ids_;       // of <0x00>..<0xFF>, or -1
  std::vector<std::uint64_t> joined_;   // neighbours within some merged token, sorted
};

}  // namespace lowbit
