// Which modules a compressed-tensors "target" means: an exact module name, "re:PATTERN" with the
// meaning of Python's re.match (anchored at the start, not at the end), or a class name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lowbit {

// What a module is: the classes that a target may name.
enum class ModuleClass { linear, embedding };

// How closely a target names a module; a closer one wins (exact, then pattern, then class).
enum class TargetMatch { none, by_class, by_pattern, exact };

class TargetPattern {
 public:
  // Errors: packed/bad-config for a pattern that does not compile or is too long.
  static Result<TargetPattern> parse(std::string_view target);
  ~TargetPattern();
  TargetPattern(TargetPattern&&) noexcept;
  TargetPattern& operator=(TargetPattern&&) noexcept;

  // A pattern that exceeds the work limit is packed/bad-config.
  Result<TargetMatch> match(const std::string& module, ModuleClass kind) const;

 private:
  struct Regex;
  TargetPattern();
  std::string text_;
  std::unique_ptr<Regex> regex_;  // null unless "re:"
};

inline constexpr std::size_t kTargetsLimit = 1 << 16;  // targets of a list
Result<std::vector<TargetPattern>> parse_targets(const std::vector<std::string>& texts);

struct Module {
  std::string name;
  ModuleClass kind = ModuleClass::linear;
};

// How closely the closest of some targets names a module.
Result<TargetMatch> closest_match(const std::vector<TargetPattern>& targets, const Module& module);

}  // namespace lowbit
