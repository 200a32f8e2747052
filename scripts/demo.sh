#!/usr/bin/env bash
# The main job on the project's own model: analyse, quantize to W4A4 by three recipes, measure each next to the
# source. No text is needed: the source model samples what it is calibrated on and, with another seed, what it is
# measured on.
# Usage: scripts/demo.sh PROGRAM FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
lowbit=$1
out=$2
model=models/tiny-llama

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

run "$lowbit" analyze "$model"
run "$lowbit" compare "$model" -o "$out" --recipes rtn-w4a4,light-w4a4,default-w4a4 --restart \
  --calib self --nsamples 32 --seqlen 512 --text self:2 --window 512 --max-windows 32
