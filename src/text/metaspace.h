// "Metaspace" of tokenizer.json, SentencePiece's way with spaces: a mark in the place of each, and
// one before the text. It is a pre-tokenizer and a decoder with the same fields.
#pragma once

#include <string>

#include "base/result.h"
#include "text/json_fields.h"

namespace lowbit {

struct Metaspace {
  enum class Prepend { always, first, never };  // first: only where the whole text begins

  std::string replacement = "\xE2\x96\x81";  // one character, U+2581
  Prepend prepend = Prepend::always;
  bool split = true;  // the pre-tokenizer cuts before each mark
};

Result<Metaspace> read_metaspace(const JsonPart& part);

}  // namespace lowbit
