#!/usr/bin/env bash
# Builds and runs native tests.
#   test.sh [FOLDER under build/, default native-tests] [-R PATTERN] [further CMake arguments]
# With -R only the tests whose names match are built and run.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=build/${1:-native-tests}
shift || true
pattern=
if [ "${1:-}" = -R ]; then
  pattern=$2
  shift 2
fi
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
jobs=$(getconf _NPROCESSORS_ONLN)
cmake -S . -B "$folder" "${generator[@]}" "$@" >/dev/null
targets=()
if [ -n "$pattern" ]; then
  mapfile -t names < <(ctest --test-dir "$folder" -N -R "$pattern" | sed -n 's/.*Test *#[0-9]*: .*\/\(.*\)/\1/p')
  targets=(--target "${names[@]}")
fi
cmake --build "$folder" -j "$jobs" "${targets[@]}"
ctest --test-dir "$folder" -j "$jobs" --output-on-failure --no-tests=error ${pattern:+-R "$pattern"}
