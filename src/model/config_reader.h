// Values of config.json, each checked before anything uses it. The file is not trusted: a count is
// an integer within limits, a flag a boolean, never a guess.
//
// The first problem is kept and later reads return harmless values, so that a family reads its keys
// one after the other and asks once, at the end, whether all was well.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/json.h"
#include "model/model_spec.h"

namespace lowbit {

// Far above any published model, far below what overflows: products of two fit an int64 with room.
inline constexpr std::int64_t kMaxBlocks = 1024;
inline constexpr std::int64_t kMaxHeads = 4096;
inline constexpr std::int64_t kMaxHeadDim = 4096;
inline constexpr std::int64_t kMaxWidth = std::int64_t{1} << 20;
inline constexpr std::int64_t kMaxVocabulary = std::int64_t{1} << 24;
inline constexpr std::int64_t kMaxPositions = std::int64_t{1} << 28;
inline constexpr double kMaxRopeTheta = 1e15;
inline constexpr double kMaxRopeFactor = 1e6;

class ConfigReader {
 public:
  // `place` names the object in messages: "config.json", "config.json: rope_scaling".
  ConfigReader(const OrderedJson& object, std::string place);

  bool has(std::string_view key) const;        // the key is there, perhaps null
  bool has_value(std::string_view key) const;  // there and not null

  std::int64_t count(std::string_view key, std::int64_t limit);  // 1..limit; must be there
  std::int64_t count_or(std::string_view key, std::int64_t limit, std::int64_t fallback);
  double positive_or(std::string_view key, double limit, double fallback);  // 0 < value <= limit
  double positive(std::string_view key, double limit);                      // must be there
  bool flag_or(std::string_view key, bool fallback);
  std::string text_or(std::string_view key, std::string_view fallback);

  // The one value that is supported; another is "model/unsupported-option".
  void expect_flag(std::string_view key, bool expected, bool fallback);
  void expect_text(std::string_view key, const std::vector<std::string_view>& allowed,
                   std::string_view fallback);
  // `layer_types`, where it is there: every entry must be `expected`.
  void expect_layer_types(std::string_view expected);

  // Token ids below `vocabulary`; one number, a list, or null.
  std::vector<std::int64_t> tokens_or(std::string_view key, std::int64_t vocabulary,
                                      std::optional<std::int64_t> fallback);

  const OrderedJson* object_at(std::string_view key);  // null when absent; an error when no object

  void fail(Error error);  // kept when it is the first
  void bad_value(std::string_view key, const std::string& expected);
  void unsupported(std::string_view key, const std::string& supported);
  Status status() const;

 private:
  const OrderedJson* find(std::string_view key) const;
  std::string found(std::string_view key) const;  // the value as text, shortened

  const OrderedJson* object_;
  std::string place_;
  std::optional<Error> error_;
};

}  // namespace lowbit
