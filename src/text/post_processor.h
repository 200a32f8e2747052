// The "post_processor" of tokenizer.json, as far as ids go: what stands before and after a text.
#pragma once

#include <vector>

#include "base/result.h"
#include "text/json_fields.h"
#include "text/tokenizer.h"

namespace lowbit {

class PostProcessor {
 public:
  static Result<PostProcessor> read(const Json& tokenizer);

  const std::vector<TokenId>& before() const { return before_; }
  const std::vector<TokenId>& after() const { return after_; }

 private:
  Status add_template(const JsonPart& part);

  std::vector<TokenId> before_;
  std::vector<TokenId> after_;
};

}  // namespace lowbit
