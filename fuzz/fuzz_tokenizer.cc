// Any bytes as tokenizer.json; and as text, which a byte-level tokenizer must give back.
#include <cstdint>

#include "../tests/text/byte_level_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (const auto tokenizer = lowbit::Tokenizer::parse(bytes)) {
    const auto ids = tokenizer->encode("a  b\u00E9<s>\u65E5 1", lowbit::SpecialTokens::add);
    if (ids) static_cast<void>(tokenizer->decode(*ids));
  }
  static const lowbit::Tokenizer kByteLevel = lowbit::testing::byte_level_tokenizer();
  const auto ids = kByteLevel.encode(bytes);
  CHECK(!ids.ok() || kByteLevel.decode(*ids).value() == bytes);
  return 0;
}
