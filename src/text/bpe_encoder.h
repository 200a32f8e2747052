// Encodes words with a BPE model. One for each text: it remembers the words it has seen.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/bpe.h"
#include "text/merge_queue.h"

namespace lowbit {

class BpeEncoder {
 public:
  explicit BpeEncoder(const Bpe& bpe) : bpe_(bpe) {}

  // Appends the word's ids. Fails only where "unk_token" is needed and not in the vocabulary.
  Status encode(std::string_view word, std::vector<TokenId>& ids);

 private:
  static constexpr std::int32_t kNone = -1;
  struct Symbol {
    TokenId id = 0;
    std::int32_t previous = kNone;
    std::int32_t next = kNone;
    bool gone = false;  // merged into the one before
  };
  struct Remembered {
    std::size_t begin = 0;
    std::size_t end = 0;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };

  Status encode_chunk(std::string_view chunk, std::vector<TokenId>& ids);
  Status read_symbols(std::string_view chunk);
  bool add_bytes(std::string_view character);
  void add_symbol(TokenId id);
  void merge_symbols();
  void propose(std::int32_t position);
  void merge_at(const MergeQueue::Candidate& candidate);

  const Bpe& bpe_;
  std::vector<Symbol> symbols_;
  MergeQueue queue_;
  std::unordered_map<std::string, Remembered, Hash, std::equal_to<>> remembered_;
  std::vector<TokenId> remembered_ids_;
};

}  // namespace lowbit
