#!/usr/bin/env bash
# The banking77 recipe with three seeds; prints exact match of each and the mean. Usage: bench/seeds.sh PROJECT
set -euo pipefail
project=$1
for seed in 0 1 2; do
    run="$project/runs/seed-$seed"
    [ -d "$run/adapter" ] || cargo run --release -q -- train "$project/tunesmith.toml" --out "$run" --set train.seed=$seed --quiet
    cargo run --release -q -- eval "$run" --json --quiet | python3 -c '
import json, sys
r = json.load(sys.stdin); print("seed", sys.argv[1], json.dumps(r))' "$seed"
done
