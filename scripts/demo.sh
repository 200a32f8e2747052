#!/usr/bin/env bash
# The main job on the project's own model: analyse, quantize to W4A4 with FRM and by rounding to nearest,
# measure both next to the source. No text is needed: the source model samples what it is calibrated on and,
# with another seed, what it is measured on.
# Usage: scripts/demo.sh PROGRAM FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
lowbit=$1
out=$2
model=models/tiny-llama
mkdir -p "$out"

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

run "$lowbit" analyze "$model"

frm_started=$SECONDS
run "$lowbit" quantize "$model" -o "$out/frm-w4a4" --scheme W4A4 \
  --calib self --nsamples 32 --seqlen 512 --restart
frm_seconds=$((SECONDS - frm_started))

rtn_started=$SECONDS
run "$lowbit" quantize "$model" -o "$out/rtn-w4a4" --recipe rtn-w4a4 --restart
rtn_seconds=$((SECONDS - rtn_started))

measure=(--text self:2 --seqlen 512 --max-windows 32)
run "$lowbit" eval "$model" "${measure[@]}" --json "$out/source.json"
run "$lowbit" eval "$out/rtn-w4a4" --reference "$model" "${measure[@]}" --json "$out/rtn.json"
run "$lowbit" eval "$out/frm-w4a4" --reference "$model" "${measure[@]}" --json "$out/frm.json"

# field FILE KEY: a number of a flat JSON file, or "-".
field() {
  local value
  value=$(sed -n "s/^ *\"$2\": *\([-+0-9.eE]*\),\{0,1\}$/\1/p" "$1" | head -n 1)
  echo "${value:--}"
}
row() {  # LABEL JSON FOLDER SECONDS
  local numbers=() key
  for key in perplexity kl top1_agreement bits_per_weight; do
    numbers+=("$(field "$2" "$key" | awk '{ if ($1 == "-") print; else printf "%.4f\n", $1 }')")
  done
  local bytes
  bytes=$(cat "$3"/*.safetensors | wc -c)
  printf '%-16s %10s %9s %9s %9s %8s MB %8s\n' "$1" "${numbers[@]}" \
    "$(awk -v bytes="$bytes" 'BEGIN { printf "%.2f", bytes / 1e6 }')" "$4"
}

printf '\n%-16s %10s %9s %9s %9s %11s %8s\n' \
  "$(basename "$model")" perplexity KL top-1 bits/w size seconds
row source "$out/source.json" "$model" -
row "rtn-w4a4" "$out/rtn.json" "$out/rtn-w4a4" "$rtn_seconds"
row "frm-w4a4" "$out/frm.json" "$out/frm-w4a4" "$frm_seconds"
echo
echo "Text: sampled by the source itself, another seed than the calibration's. The size counts the"
echo "embedding, which stays in 16 bits. The packed models are in $out."
