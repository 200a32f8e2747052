// Members of an object in config.json, read with errors that name their place in the file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/json.h"

namespace lowbit {

Error bad_config(std::string_view where, std::string_view message);   // packed/bad-config
Error unsupported(std::string_view where, std::string_view message);  // packed/unsupported-method

// The object must outlive its section.
class Section {
 public:
  // packed/bad-config where it is no object or has a key that is not known: it may mean something.
  static Result<Section> of(const OrderedJson& json, std::string where,
                            std::span<const std::string_view> known);

  const std::string& where() const { return where_; }
  std::string where(std::string_view key) const;

  const OrderedJson* find(std::string_view key) const;  // null: the member is absent or null
  Result<std::string> text(std::string_view key, std::string_view otherwise) const;
  Result<bool> boolean(std::string_view key, bool otherwise) const;
  Result<std::int64_t> integer(std::string_view key, std::int64_t otherwise) const;  // within 2^30
  Result<double> number(std::string_view key, double otherwise) const;
  Result<std::vector<std::string>> texts(std::string_view key) const;  // empty when absent

  // packed/unsupported-method when the member is there and says anything ({}, [] and false say
  // nothing).
  Status refuse(std::string_view key, std::string_view reason) const;

  static std::string shown(const OrderedJson& json);  // for messages: cut, in ASCII

 private:
  Section(const OrderedJson& json, std::string where) : json_(&json), where_(std::move(where)) {}
  const OrderedJson* json_;
  std::string where_;
};

}  // namespace lowbit
