// The "pre_tokenizer" of tokenizer.json: cuts the normalised text into words, which the model
// then encodes one by one.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "text/pattern.h"
#include "text/pieces.h"

namespace lowbit {

class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual Result<Pieces> apply(Pieces pieces, MatchBudget& budget) const = 0;
};

class PreTokenizer {
 public:
  static Result<PreTokenizer> read(const Json& tokenizer);
  Result<Pieces> apply(Pieces pieces, MatchBudget& budget) const;

 private:
  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
};

}  // namespace lowbit
