#!/usr/bin/env bash
# kill -9 at three random moments of a run and once inside the writing of a checkpoint, and go on each time: are the final
# adapter's bytes those of an uninterrupted run?
# Usage: bench/kill.sh RECIPE FOLDER [SET...]   (each SET as in `tunesmith train --set`)
set -euo pipefail
recipe=$1 folder=$2
shift 2
sets=()
for s in "$@"; do sets+=(--set "$s"); done
bin=${TUNESMITH:-target/release/tunesmith}
rm -rf "$folder" && mkdir -p "$folder"
"$bin" train "$recipe" --out "$folder/whole" --quiet "${sets[@]}"
"$bin" train "$recipe" --out "$folder/cut" --quiet "${sets[@]}" & pid=$!
for try in 1 2 3; do
    sleep "$((RANDOM % 8 + 4)).$((RANDOM % 10))"
    kill -9 "$pid" 2>/dev/null || echo "kill $try: the run was over"
    wait "$pid" 2>/dev/null || true
    echo "killed after $(grep -c '"event":"step"' "$folder/cut/events.jsonl" || true) logged steps; checkpoints: $(ls "$folder/cut/checkpoints" 2>/dev/null | tr '\n' ' ')"
    touch "$folder/mark"
    "$bin" train --resume "$folder/cut" --threads "$((try % 3 + 1))" --quiet & pid=$!
done
# Looked for without a pause: a checkpoint is written in a fraction of a second, under a temporary name.
until find "$folder/cut/checkpoints" -name '.tmp-step-*' -newer "$folder/mark" | grep -q . || ! kill -0 "$pid" 2>/dev/null; do :; done
kill -9 "$pid" 2>/dev/null || echo "the last kill: the run was over"
wait "$pid" 2>/dev/null || true
torn=$(find "$folder/cut/checkpoints" -name '.tmp-step-*' -newer "$folder/mark")
[ -n "$torn" ] || { echo "the last kill missed the writing of a checkpoint: run this again"; exit 1; }
echo "killed while writing: $(basename "$torn") ($(ls "$torn" | tr '\n' ' '))"
"$bin" train --resume "$folder/cut" --quiet & pid=$!
wait "$pid"
steps=$(grep -o '"event":"step","step":[0-9]*' "$folder/cut/events.jsonl" | sort | uniq -d | wc -l)
echo "steps logged twice: $steps"
cmp "$folder/whole/adapter/adapter_model.safetensors" "$folder/cut/adapter/adapter_model.safetensors" && echo "adapters are equal, byte for byte"
