#include "text/pattern_syntax.h"

#include <fmt/format.h>

#include "text/json_fields.h"

namespace lowbit {
namespace {

// PCRE2's \s has U+180E as well; its \w has no marks, connectors and circled letters, but
// fractions.
constexpr std::string_view kSpaceSet = R"(\p{Z}\t-\r\x{85})";
constexpr std::string_view kWordSet =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}\x{24B6}-\x{24E9})"
    R"(\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
constexpr std::string_view kHexSet = "0-9a-fA-F";

class Translator {
 public:
  explicit Translator(std::string_view source) : source_(source) {}

  Result<std::string> run() {
    while (at_ < source_.size()) {
      if (auto done = step(); !done) return std::move(done).error();
    }
    return std::move(out_);
  }

 private:
  Status step() {
    const char c = source_[at_];
    if (c == '\\' && at_ + 1 < source_.size()) return escape();
    if (in_class_) return class_member(c);
    if (starts("(*")) return refused("'(*'");
    if (starts("(?")) return group_flags();
    if (c == '[') return open_class();
    take(1);
    return {};
  }

  Status escape() {
    const char name = source_[at_ + 1];
    switch (name) {
      case 's':
      case 'S':
        return set(kSpaceSet, name == 'S');
      case 'w':
      case 'W':
        return set(kWordSet, name == 'W');
      case 'h':
      case 'H':
        return set(kHexSet, name == 'H');
      case 'u':
        return code_unit();
      case 'Q':
      case 'E':
      case 'g':
      case 'k':
        return refused(fmt::format("'\\{}'", name));
      default:
        take(2);
        return {};
    }
  }

  Status set(std::string_view members, bool negated) {
    // A negated set cannot be written as members; PCRE2's own \S differs in one character.
    if (in_class_ && negated) {
      const char name = source_[at_ + 1];
      if (name != 'S') return refused(fmt::format("'\\{}' in a class", name));
      take(2);
      return {};
    }
    if (in_class_) {
      out_ += members;
    } else {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
    }
    at_ += 2;
    return {};
  }

  Status code_unit() {  // \uHHHH
    const std::string_view digits = source_.substr(at_ + 2, 4);
    if (digits.size() < 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos) {
      return refused("'\\u' without four hexadecimal digits");
    }
    out_ += fmt::format("\\x{{{}}}", digits);
    at_ += 6;
    return {};
  }

  Status open_class() {
    in_class_ = true;
    take(starts("[^") ? 2 : 1);
    if (starts("]")) take(1);  // a bracket in the first place is a member
    return {};
  }

  Status class_member(char c) {
    if (starts("&&")) return refused("'&&' in a class");
    if (starts("[:")) {
      take(2);
      return {};
    }
    if (c == '[') return refused("a class in a class");
    // ":]" closes a POSIX class, not this one.
    if (starts(":]") && out_.rfind("[:") != std::string::npos &&
        out_.find(":]", out_.rfind("[:")) == std::string::npos) {
      take(2);
      return {};
    }
    if (c == ']') in_class_ = false;
    take(1);
    return {};
  }

  Status group_flags() {  // Ruby's m is PCRE2's s
    take(2);
    while (at_ < source_.size() &&
           std::string_view("imx-").find(source_[at_]) != std::string::npos) {
      out_ += source_[at_] == 'm' ? 's' : source_[at_];
      ++at_;
    }
    return {};
  }

  Status refused(std::string_view what) const {
    return unsupported(
        fmt::format("pattern '{}': at byte {}: {}", source_.substr(0, 200), at_, what),
        "groups, alternatives, repeats, lookaround, plain classes, \\p{...}, \\s "
        "\\w \\d \\h");
  }

  bool starts(std::string_view text) const { return source_.substr(at_).starts_with(text); }
  void take(std::size_t count) {
    out_ += source_.substr(at_, count);
    at_ += count;
  }

  std::string_view source_;
  std::string out_;
  std::size_t at_ = 0;
  bool in_class_ = false;
};

}  // namespace

Result<std::string> pcre2_syntax(std::string_view source) { return Translator(source).run(); }

}  // namespace lowbit
