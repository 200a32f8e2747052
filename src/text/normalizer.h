// The "normalizer" of tokenizer.json: what happens to the text before it is cut into words.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/json_fields.h"
#include "text/pattern.h"

namespace lowbit {

struct NormalizedText {
  std::string text;
  bool starts_text = false;  // its first character comes from the first of the whole text
};

class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  virtual Status apply(NormalizedText& text, MatchBudget& budget) const = 0;
};

class Normalizer {
 public:
  static Result<Normalizer> read(const Json& tokenizer);
  Result<NormalizedText> apply(NormalizedText text, MatchBudget& budget) const;

 private:
  std::vector<std::unique_ptr<NormalizerStep>> steps_;
};

}  // namespace lowbit
