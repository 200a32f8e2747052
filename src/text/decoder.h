// The "decoder" of tokenizer.json: from the texts of tokens back to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/json_fields.h"
#include "text/pattern.h"

namespace lowbit {

class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  virtual Result<std::vector<std::string>> apply(std::vector<std::string> tokens,
                                                 MatchBudget& budget) const = 0;
};

class Decoder {
 public:
  static Result<Decoder> read(const Json& tokenizer);
  // Without a decoder in the file the tokens are joined with spaces, as the library does.
  Result<std::string> apply(std::vector<std::string> tokens, MatchBudget& budget) const;

 private:
  std::vector<std::unique_ptr<DecoderStep>> steps_;
  bool joins_with_spaces_ = false;
};

}  // namespace lowbit
