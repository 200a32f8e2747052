// Which modules a compressed-tensors "target" means: an exact module name, "re:PATTERN" with the
// meaning of Python's re.match (anchored at the start, not at the end), or a class name.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lowbit {

// How closely a target names a module; a closer one wins (exact, then pattern, then class).
enum class TargetMatch { none, by_class, by_pattern, exact };

class TargetPattern {
 public:
  // Errors: packed/bad-config for a pattern that does not compile or is too long.
  static Result<TargetPattern> parse(std::string_view target);
  ~TargetPattern();
  TargetPattern(TargetPattern&&) noexcept;
  TargetPattern& operator=(TargetPattern&&) noexcept;

  // `module` is the name of a linear. A pattern that exceeds the work limit is packed/bad-config.
  Result<TargetMatch> match(const std::string& module) const;

 private:
  struct Regex;
  TargetPattern();
  std::string text_;
  std::unique_ptr<Regex> regex_;  // null unless "re:"
};

}  // namespace lowbit
