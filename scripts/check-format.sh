#!/usr/bin/env bash
# clang-format on every source; `scripts/check-format.sh --fix` rewrites them.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t sources < <(find src tests fuzz benchmarks -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh')
if [[ ${1:-} == --fix ]]; then
  exec clang-format -i "${sources[@]}"
fi
bad=0
for file in "${sources[@]}"; do
  clang-format "$file" | cmp -s - "$file" && continue
  echo "$file: not formatted; scripts/check-format.sh --fix does it" >&2
  bad=1
done
((bad == 0)) && echo "format: ${#sources[@]} files"
exit "$bad"
