"""Writes unicode_table.cc: what the Python `tokenizers` library takes for a letter, a number, and so on.

The library's regular expressions (Oniguruma) and its own tests (Rust) follow different Unicode
versions; asking it is the one way to agree with it on every character.
Run: python make_unicode_table.py > unicode_table.cc   (a few minutes)
"""
import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERY = "".join(map(chr, POINTS))


def matched_by(pattern):
    left = set(normalizers.Replace(Regex(pattern), "").normalize_str(EVERY))
    return {c for c in POINTS if chr(c) not in left}


def pieces_of_two(pre_tokenizer, count):
    return {c for c in POINTS
            if len(pre_tokenizer.pre_tokenize_str("a" + chr(c) + ("a" if count == 1 else ""))) == count}


def main():
    classes = [
        matched_by(r"\p{L}"),                             # CharClass::letter
        matched_by(r"\p{N}"),                             # number
        matched_by(r"\s"),                                # space
        pieces_of_two(pre_tokenizers.Whitespace(), 1),    # word
        pieces_of_two(pre_tokenizers.Digits(True), 2),    # numeric
        pieces_of_two(pre_tokenizers.Punctuation(), 2),   # punctuation
    ]
    runs, previous = [], None
    for point in range(0x110000):
        flags = sum((point in members) << bit for bit, members in enumerate(classes))
        if flags != previous:
            runs.append(f"0x{point << 6 | flags:07x}")
            previous = flags
    print(f"// Made by make_unicode_table.py from tokenizers {tokenizers.__version__}; do not edit.")
    print('#include "text/unicode_class.h"\n\nnamespace lowbit {\n\n// clang-format off')
    print(f"const std::array<std::uint32_t, {len(runs)}> kClassRuns = {{")
    for start in range(0, len(runs), 9):
        print("    " + ", ".join(runs[start:start + 9]) + ",")
    print("};\n// clang-format on\n\n}  // namespace lowbit")
    sys.stderr.write(f"{len(runs)} runs\n")


if __name__ == "__main__":
    main()
