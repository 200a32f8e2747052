#include "text/pieces.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/unicode_class.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

struct Part {
  Span span;
  bool is_match = false;
};

// The matches and the gaps between them, over the whole piece.
std::vector<Part> parts_of_piece(std::size_t size, const std::vector<Span>& matches, SplitOn on) {
  std::vector<Part> parts;
  parts.reserve(2 * matches.size() + 1);
  std::uint32_t done = 0;
  const bool matched = on == SplitOn::matches;
  for (const Span& match : matches) {
    if (match.begin > done) parts.push_back({{done, match.begin}, !matched});
    parts.push_back({match, matched});
    done = match.end;
  }
  const auto end = static_cast<std::uint32_t>(size);
  if (done < end) parts.push_back({{done, end}, !matched});
  return parts;
}

void merge_with_previous(const std::vector<Part>& parts, std::vector<Span>& out) {
  bool after_match = false;
  for (const Part& part : parts) {
    if (part.is_match && !after_match && !out.empty()) {
      out.back().end = part.span.end;
    } else {
      out.push_back(part.span);
    }
    after_match = part.is_match;
  }
}

void merge_with_next(const std::vector<Part>& parts, std::vector<Span>& out) {
  bool after_match = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->is_match && !after_match && !out.empty()) {
      out.back().begin = part->span.begin;
    } else {
      out.push_back(part->span);
    }
    after_match = part->is_match;
  }
  std::ranges::reverse(out);
}

void merge_alike(const std::vector<Part>& parts, std::vector<Span>& out) {
  bool after_match = false;
  for (const Part& part : parts) {
    if (part.is_match == after_match && !out.empty()) {
      out.back().end = part.span.end;
    } else {
      out.push_back(part.span);
    }
    after_match = part.is_match;
  }
}

void cut(const std::vector<Part>& parts, SplitBehavior behavior, std::vector<Span>& out) {
  switch (behavior) {
    case SplitBehavior::removed:
    case SplitBehavior::isolated:
      for (const Part& part : parts) {
        if (behavior == SplitBehavior::isolated || !part.is_match) out.push_back(part.span);
      }
      return;
    case SplitBehavior::merged_with_previous:
      return merge_with_previous(parts, out);
    case SplitBehavior::merged_with_next:
      return merge_with_next(parts, out);
    case SplitBehavior::contiguous:
      return merge_alike(parts, out);
  }
}

}  // namespace

Result<SplitBehavior> read_behavior(const JsonPart& part, std::string_view fallback) {
  const auto name = string_field(part, "behavior", fallback);
  if (!name) return name.error();
  if (*name == "Removed") return SplitBehavior::removed;
  if (*name == "Isolated") return SplitBehavior::isolated;
  if (*name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (*name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (*name == "Contiguous") return SplitBehavior::contiguous;
  return unsupported(fmt::format("{}: behavior '{}'", part.name, name->substr(0, 80)),
                     "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

Result<Pieces> split(Pieces pieces, const FindMatches& find, SplitBehavior behavior, SplitOn on) {
  std::vector<Span> spans;
  std::vector<Span> within;
  spans.reserve(pieces.spans.size());
  for (const Span& piece : pieces.spans) {
    const auto matches = find(pieces.view(piece));
    if (!matches) return matches.error();
    within.clear();
    cut(parts_of_piece(piece.end - piece.begin, *matches, on), behavior, within);
    for (const Span& span : within) {
      if (!span.empty()) spans.push_back({piece.begin + span.begin, piece.begin + span.end});
    }
  }
  const bool keeps_start = !spans.empty() && spans.front().begin == pieces.spans.front().begin;
  pieces.starts_text = pieces.starts_text && keeps_start;
  pieces.spans = std::move(spans);
  return pieces;
}

Pieces split_at_class(Pieces pieces, std::uint8_t classes, SplitBehavior behavior) {
  const auto find = [&](std::string_view piece) -> Result<std::vector<Span>> {
    std::vector<Span> matches;
    for (std::uint32_t at = 0; at < piece.size();) {
      const CodePoint point = code_point_at(piece, at);
      if (is_of_class(point.value, classes)) matches.push_back({at, at + point.size});
      at += point.size;
    }
    return matches;
  };
  return split(std::move(pieces), find, behavior, SplitOn::matches).value();
}

Pieces rewrite(const Pieces& pieces, const AppendPiece& append) {
  Pieces out;
  out.starts_text = pieces.starts_text;
  out.spans.reserve(pieces.spans.size());
  out.text.reserve(pieces.text.size() + pieces.text.size() / 4);
  for (std::size_t index = 0; index < pieces.spans.size(); ++index) {
    const auto begin = static_cast<std::uint32_t>(out.text.size());
    append(pieces.view(pieces.spans[index]), index, out.text);
    out.spans.push_back({begin, static_cast<std::uint32_t>(out.text.size())});
  }
  return out;
}

}  // namespace lowbit
