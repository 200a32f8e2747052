// A text cut into pieces, and the ways of cutting it further.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/json_fields.h"
#include "text/word_scanner.h"

namespace lowbit {

struct Pieces {
  std::string text;
  std::vector<Span> spans;   // in order, none empty
  bool starts_text = false;  // the first piece begins with the first character of the whole text

  std::string_view view(const Span& span) const {
    return std::string_view(text).substr(span.begin, span.end - span.begin);
  }
};

// What becomes of a match: gone, a piece of its own, joined to a neighbour, or joined to matches.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
enum class SplitOn { matches, gaps };  // gaps: what does not match counts as the match

Result<SplitBehavior> read_behavior(const JsonPart& part, std::string_view fallback);

// Finds the matches in one piece: spans within it, in order.
using FindMatches = std::function<Result<std::vector<Span>>(std::string_view piece)>;
Result<Pieces> split(Pieces pieces, const FindMatches& find, SplitBehavior behavior, SplitOn on);

// Each character of a class is a match.
Pieces split_at_class(Pieces pieces, std::uint8_t classes, SplitBehavior behavior);

// Every piece rewritten by append(piece, index of the piece, out).
using AppendPiece =
    std::function<void(std::string_view piece, std::size_t index, std::string& out)>;
Pieces rewrite(const Pieces& pieces, const AppendPiece& append);

}  // namespace lowbit
