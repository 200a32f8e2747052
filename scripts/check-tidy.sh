#!/usr/bin/env bash
# clang-tidy, warnings as errors, on the sources that need no LibTorch (with it a file takes half a minute).
# Usage: scripts/check-tidy.sh [FILE...]; without files, all of src/ but calib and methods.
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset notorch >/dev/null
if [[ $# -gt 0 ]]; then
  files=("$@")
else
  mapfile -t files < <(find src -name '*.cc' -not -path 'src/calib/*' -not -path 'src/methods/*' | sort)
fi
# Only what this build compiles: the database has no entry for the rest.
compiled=()
for file in "${files[@]}"; do
  grep -q "\"file\": \"$PWD/$file\"" build/notorch/compile_commands.json && compiled+=("$file")
done
printf '%s\0' "${compiled[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy -p build/notorch --quiet --warnings-as-errors='*' \
    --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-unused-command-line-argument
echo "tidy: ${#compiled[@]} files"
