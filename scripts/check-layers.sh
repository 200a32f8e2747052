#!/usr/bin/env bash
# The ladder of docs/design.md: a folder of src/ includes from itself and from those above it, and only the
# named folders know a third-party library. Prints every line that breaks this; exit status 1 if any does.
set -euo pipefail
cd "$(dirname "$0")/.."

# Top of the ladder first. "library: folders" beneath.
ladder=(base io text model format kernels runtime eval recipe calib methods report server cli)
third_party=(
  'torch/ ATen/ c10/: calib methods'
  'nlohmann/: io text model format kernels runtime eval recipe calib methods report server cli'
  'pcre2: text format'
  'utf8proc: text'
  'openssl/: base'
  'toml++/ toml.hpp: recipe'
  'cblas openblas: kernels runtime'
  'CLI/: cli'
  'histedit editline/: cli'
)

awk -v ladder="${ladder[*]}" -v rules="$(IFS='|'; echo "${third_party[*]}")" '
  BEGIN {
    for (i = split(ladder, folders, " "); i > 0; --i) rank[folders[i]] = i
    rule_count = split(rules, rule, "|")
    for (i = 1; i <= rule_count; ++i) {
      split(rule[i], half, ": ")
      prefixes[i] = half[1]
      allowed[i] = " " half[2] " "
    }
  }
  function complain(what) { print FILENAME ":" FNR ": " what; bad = 1 }
  FNR == 1 {
    split(FILENAME, part, "/")
    folder = part[2]
    if (!(folder in rank)) complain("folder src/" folder " is not on the ladder")
  }
  match($0, /^[ \t]*#[ \t]*include[ \t]*"[^"]*"/) {
    path = $0; sub(/^[^"]*"/, "", path); sub(/".*/, "", path)
    target = path; sub(/\/.*/, "", target)
    if (index(path, "/") == 0 || !(target in rank))
      complain("include \"" path "\" is not written from src/, as \"base/file.h\" is")
    else if (rank[target] > rank[folder])
      complain(folder " includes " path ", which stands below it on the ladder")
  }
  match($0, /^[ \t]*#[ \t]*include[ \t]*<[^>]*>/) {
    path = $0; sub(/^[^<]*</, "", path); sub(/>.*/, "", path)
    for (i = 1; i <= rule_count; ++i) {
      n = split(prefixes[i], prefix, " ")
      for (k = 1; k <= n; ++k)
        if (index(path, prefix[k]) == 1 && index(allowed[i], " " folder " ") == 0)
          complain("<" path "> is for" allowed[i] "only")
    }
  }
  END { exit bad }
' $(find src -name '*.h' -o -name '*.cc' -o -name '*.cuh' -o -name '*.cu' | sort)
echo "layers: no include climbs the ladder"
