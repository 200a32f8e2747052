#!/usr/bin/env bash
# What a compiler does not see: paths of somebody's machine, promises without an issue, files grown too long.
set -euo pipefail
cd "$(dirname "$0")/.."

longest_file=600  # lines; 400 is what we aim at
bad=0
mapfile -t sources < <(find src tests fuzz benchmarks cmake scripts -type f \
  \( -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cmake' -o -name '*.sh' \
  -o -name CMakeLists.txt \) -not -path '*/check-sources.sh' | sort)

if grep -nE '"(/home|/root|/work|/opt|/usr/local|/mnt)/' "${sources[@]}"; then
  echo "sources: the paths above are somebody's machine; use one that the user gives" >&2
  bad=1
fi
if grep -nwE '(TODO|FIXME|XXX|HACK)' "${sources[@]}" | grep -vE '(TODO|FIXME|XXX|HACK)\(#[0-9]+\)'; then
  echo "sources: write TODO(#12), with the number of its issue" >&2
  bad=1
fi
for file in "${sources[@]}"; do
  lines=$(wc -l <"$file")
  if ((lines > longest_file)); then
    echo "$file: $lines lines; split it by reason to change (at most $longest_file)" >&2
    bad=1
  fi
  if [[ $file == *.h ]] && ! grep -q '^#pragma once' "$file"; then
    echo "$file: no #pragma once" >&2
    bad=1
  fi
done
((bad == 0)) && echo "sources: ${#sources[@]} files"
exit "$bad"
