// The "decoder" of tokenizer.json: from the texts of tokens back to text, as far as it is certain.
//
// A step takes tokens one after the other and hands on what no later token can change. So text that
// grows by a token costs that token, and decoding all at once is the same steps.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/json_fields.h"
#include "text/pattern.h"

namespace lowbit {

// A token between two steps, or a part of one: a step that makes one token of many does not wait
// for the last. Parts are whole characters.
struct TokenPart {
  std::string text;
  bool ends = true;
};
using TokenParts = std::vector<TokenPart>;

// One step of one text.
class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  virtual Status push(TokenPart part, MatchBudget& budget, TokenParts& out) = 0;
  virtual void finish(TokenParts& /*out*/) {}
};

// The decoding of one text.
class DecoderRun {
 public:
  // Appends to `text` what is certain now.
  Status push(TokenParts tokens, MatchBudget& budget, std::string& text);
  Status finish(MatchBudget& budget, std::string& text);

 private:
  friend class Decoder;
  Status through(std::size_t first_step, TokenParts parts, MatchBudget& budget, std::string& text);

  std::vector<std::unique_ptr<DecoderStep>> steps_;
  bool joins_with_spaces_ = false;
  bool begun_ = false;
};

class Decoder {
 public:
  static Result<Decoder> read(const Json& tokenizer);
  // Without a decoder in the file the tokens are joined with spaces, as the library does.
  DecoderRun start() const;

 private:
  std::vector<std::function<std::unique_ptr<DecoderStep>()>> steps_;
  bool joins_with_spaces_ = false;
};

}  // namespace lowbit
