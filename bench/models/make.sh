#!/usr/bin/env bash
# Makes both models from nothing, or goes on where it was stopped: bench/models/make.sh FOLDER
# Needs `npm ci`, `npm run build:bench` and the Python packages of requirements.txt. PYTHON, DEVICE, THREADS: which Python, cpu or cuda, how many.
# FOLDER gets data, checkpoints (NAME/state.pt), curves (NAME/log.jsonl) and at the end NAME/model.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export=$here/../../dist/bench/models/export.js
python=${PYTHON:-python3}
device=${DEVICE:-cpu}
threads=${THREADS:-2}
# Tokens until which each stage trains.
small=${SMALL:-13e6} narrow=${NARROW:-14e6} wide=${WIDE:-24e6} large=${LARGE:-30e6}
folder=$1
mkdir -p "$folder"
cd "$folder"

rows() { # name, options of export.ts
  [ -f "$1.npz" ] && return
  node "$export" "${@:2}" --out "$1.jsonl"
  "$python" "$here/data.py" "$1.jsonl" tokenizer "$1.part.npz" && mv "$1.part.npz" "$1.npz" && rm "$1.jsonl"
}
if [ ! -f tokenizer/tokenizer.model ]; then
  node "$export" --worlds 100 --out tok.jsonl
  "$python" "$here/make_tokenizer.py" tok.jsonl tokenizer
fi
rows train --worlds 2000 --questions 16
rows drills --worlds 1000 --first-seed 7001 --questions 0 --drills 25
rows tune --split tune --worlds 20 --questions 16 --progress 1

train() { # size, folder, further options
  "$python" "$here/train.py" --size "$1" --runs train.npz --tune tune.npz --drills drills.npz --tokenizer tokenizer --out "$2" --device "$device" \
    --threads "$threads" --batch 2560 "${@:3}" >> "$2.out" 2>&1
}
# A training that is stopped or that is done ends with status 0, so the stages look at what has been reached.
reached() { [ -f "$1/log.jsonl" ] && tail -n 1 "$1/log.jsonl" | "$python" -c "import json, sys; sys.exit(json.load(sys.stdin)['tokens'] < float('$2'))"; }
stage() { reached "$2" "$3" || train "$1" "$2" --tokens "$3" "${@:4}"; reached "$2" "$3"; }

# The narrow network is the small model before it is done, and at its end what a wider one begins as, and that one the large model.
stage small narrow "$small" --drill-share 0.9 --drill-until "$narrow"
[ -d small ] || cp -r narrow small
stage small narrow "$narrow" --drill-share 0.9 --drill-until "$narrow"
grow() { # from, to
  [ -d "$2" ] && return
  mkdir "$2"
  "$python" "$here/grow.py" "$1/state.pt" "$2/state.pt"
}
grow narrow wide
stage wide wide "$wide" --drill-share 0.1
grow wide large
stage large large "$large" --drill-share 0.1 --decay 3e6 --batch 5120
for size in small large; do "$python" "$here/export_model.py" $size/state.pt tokenizer $size/model; done
