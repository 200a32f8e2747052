#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for some seconds from its corpus. A find is written to
# build/fuzz/finds; add it to tests/corpus with the fix.
# Usage: scripts/fuzz.sh [SECONDS [TARGET...]]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true

cmake --preset fuzz
cmake --build --preset fuzz
mkdir -p build/fuzz/finds
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] ||
  mapfile -t targets < <(find fuzz -name 'fuzz_*.cc' -printf '%f\n' | sed 's/^fuzz_//; s/\.cc$//' | sort)
for target in "${targets[@]}"; do
  echo "fuzz $target: $seconds s"
  found="build/fuzz/corpus/$target"  # what the fuzzer keeps for its next run
  mkdir -p "$found"
  "build/fuzz/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix=build/fuzz/finds/ -verbosity=0 -print_final_stats=1 \
    "$found" "tests/corpus/$target"
done
