// Any bytes as tokenizer_config.json, and as the template in it: a format that writes a
// conversation, or an error.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto source = lowbit::chat_template_of_config(bytes);
  const lowbit::ChatFormat* format = lowbit::format_of_template(source.ok() ? *source : bytes);
  if (format == nullptr) return 0;
  const lowbit::ChatMessage message = {lowbit::ChatRole::user, bytes};
  const auto pieces = lowbit::write_chat(*format, {&message, 1});
  CHECK(pieces.ok() && !pieces->empty());
  CHECK(!lowbit::write_next_turn(*format, bytes).empty());
  return 0;
}
