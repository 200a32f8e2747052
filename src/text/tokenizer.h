// tokenizer.json (Hugging Face): byte-level BPE (GPT-2, LLaMA 3, Qwen2 pre-tokenizers) and
// SentencePiece-style BPE with byte fallback (LLaMA 2, Mistral); normalisers, added and special
// tokens, post-processors, decoders. Time and memory are linear in the text. Thread-safe once
// loaded.
//
// Errors: tokenizer/{missing, syntax, unsupported, bad-vocabulary, bad-merges, bad-pattern,
// not-utf8, unknown-token}; "unsupported" names the part and the supported ones.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace lowbit {

using TokenId = std::int32_t;

enum class SpecialTokens { none, add };  // whether encode applies the post-processor (BOS, EOS)
// A stretch of a text of which it is known where added tokens stand: one of them, or text between.
struct TextPart {
  static constexpr TokenId kText = -1;
  TokenId id = kText;
  std::string text = {};
};

enum class SkipSpecial { no, yes };  // whether decode leaves special tokens out

class Tokenizer {
 public:
  class Decoding;

  static Result<Tokenizer> load(FileSystem& files, const Path& model_folder);  // its tokenizer.json
  static Result<Tokenizer> parse(std::string_view json);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  Result<std::vector<TokenId>> encode(std::string_view text,
                                      SpecialTokens special = SpecialTokens::none) const;
  // As `encode` goes on once it has found the added tokens. None is looked for in the text, which
  // may say "<|eot_id|>" and mean these ten characters: for text that must not command a model.
  Result<std::vector<TokenId>> encode_parts(std::span<const TextPart> parts) const;
  Result<std::string> decode(std::span<const TokenId> ids,
                             SkipSpecial skip = SkipSpecial::yes) const;

  // For ids that come one by one; the tokenizer must outlive it.
  Decoding decoding(SkipSpecial skip = SkipSpecial::yes) const;

  std::int64_t vocabulary_size() const;  // with added tokens
  // The id of a token's text, or -1.
  TokenId id_of(std::string_view token) const;

 private:
  class Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Gives the text that no later id can change; all together is what `decode` gives for all ids. A
// step takes time for its id alone. After an error it is of no more use.
class Tokenizer::Decoding {
 public:
  ~Decoding();
  Decoding(Decoding&&) noexcept;
  Decoding& operator=(Decoding&&) noexcept;

  Result<std::string> add(TokenId id);
  Result<std::string> finish();

 private:
  friend class Tokenizer;
  struct State;
  explicit Decoding(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace lowbit
