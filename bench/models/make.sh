#!/usr/bin/env bash
# Makes both models from nothing, or goes on where it was stopped: bench/models/make.sh FOLDER
# Needs `npm ci`, `npm run build:bench` and the Python packages of requirements.txt. PYTHON, DEVICE: which Python, cpu or cuda.
# FOLDER gets data, checkpoints (NAME/state.pt), curves (NAME/log.jsonl) and at the end NAME/model.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export=$here/../../dist/bench/models/export.js
python=${PYTHON:-python3}
device=${DEVICE:-cpu}
folder=$1
export OMP_WAIT_POLICY=PASSIVE # two trainings share the cores
mkdir -p "$folder"
cd "$folder"

if [ ! -f tokenizer/tokenizer.model ]; then
  node "$export" --worlds 100 --out tok.jsonl
  "$python" "$here/make_tokenizer.py" tok.jsonl tokenizer
fi
if [ ! -f train.npz ]; then
  node "$export" --worlds 2000 --questions 16 --out train.jsonl
  "$python" "$here/data.py" train.jsonl tokenizer train.part.npz && mv train.part.npz train.npz && rm train.jsonl
fi
if [ ! -f tune.npz ]; then
  node "$export" --split tune --worlds 20 --questions 16 --progress 1 --out tune.jsonl
  "$python" "$here/data.py" tune.jsonl tokenizer tune.part.npz && mv tune.part.npz tune.npz && rm tune.jsonl
fi

train() { # size, further options
  "$python" "$here/train.py" --size "$1" --runs train.npz --tune tune.npz --tokenizer tokenizer --out "$1" --device "$device" --batch 4096 "${@:2}" \
    >> "$1.out" 2>&1
}
# A training that is stopped or that is done ends with status 0, so the stages look at what has been reached.
reached() { [ -f "$1/log.jsonl" ] && tail -n 1 "$1/log.jsonl" | "$python" -c "import json, sys; sys.exit(json.load(sys.stdin)['tokens'] < $2)"; }
stage() { reached "$1" "$2" || train "$1" --tokens "$2" "${@:3}"; reached "$1" "$2"; }

small() { stage small 10000000 --threads 1 --short 2.5e6 --decay 2.5e6; }
large() {
  stage large 6000000 --threads 1 --short 2e6 --layers 3
  stage large 14000000 --threads 2 --decay 4e6
}
small & first=$!
large & second=$!
# Trainings save and end when they are told to; a terminal's Ctrl-C reaches them by itself.
trap 'trap - TERM; kill -TERM 0' TERM
wait $first
wait $second
for size in small large; do "$python" "$here/export_model.py" $size/state.pt tokenizer $size/model; done
