// The text of a model's tokens as they come, up to the first stop string.
//
// What is handed out is whole characters and never changes: an unfinished character waits, and so
// does what may be the beginning of a stop string. All pieces together are one decode of all
// tokens.
//
// Errors: stream/bad-stop; those of Tokenizer::decode.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace lowbit {

// Finds the first of several strings in a text that comes in pieces (Knuth, Morris and Pratt's
// automaton for each), so that the cut of the pieces does not matter.
class StopStrings {
 public:
  static Result<StopStrings> of(std::vector<std::string> strings);

  // The text up to the stop string that is complete first, the longest of several.
  std::string pass(std::string_view text);
  std::string finish();                                    // what was held back
  std::optional<std::size_t> met() const { return met_; }  // index of the one that ended the text

 private:
  struct Automaton {
    std::string text;
    std::vector<std::size_t> fallback;  // of a beginning: its longest end that is a beginning too
    std::size_t matched = 0;            // bytes, at the end of the text so far
    void advance(char byte);
  };
  std::vector<Automaton> automata_;
  std::string held_;
  std::optional<std::size_t> met_;
};

class TextStream {
 public:
  // The tokenizer must outlive it.
  static Result<TextStream> start(const Tokenizer& tokenizer, std::vector<std::string> stops = {});

  // Tokens before those of the model, usually the prompt: how the first of the model's is written
  // depends on them, and stop strings are not looked for. Gives their text.
  Result<std::string> precede(std::span<const TokenId> ids);

  // The text that is certain now. Once a stop string has ended the text there is no more.
  Result<std::string> add(TokenId id);
  Result<std::string> finish();  // the rest, when no more tokens come

  // Which stop string ended the text.
  std::optional<std::size_t> stop() const { return stops_.met(); }

 private:
  TextStream(Tokenizer::Decoding decoding, StopStrings stops)
      : decoding_(std::move(decoding)), stops_(std::move(stops)) {}

  Tokenizer::Decoding decoding_;
  StopStrings stops_;
};

}  // namespace lowbit
