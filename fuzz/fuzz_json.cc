// Any bytes as JSON: both readers agree, and what is accepted is written and read back the same.
#include <cstdint>

#include "io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto plain = lowbit::parse_json(text);
  const auto ordered = lowbit::parse_ordered_json(text);
  CHECK(plain.ok() == ordered.ok());
  if (!plain) {
    CHECK(plain.error().code == ordered.error().code);
    return 0;
  }
  const auto again = lowbit::parse_ordered_json(ordered->dump());
  CHECK(again.ok() && *again == *ordered);
  CHECK(lowbit::parse_json(plain->dump()).value() == *plain);
  return 0;
}
