#!/usr/bin/env bash
# Builds and runs native tests; needs no Node.
#   test.sh [FOLDER, default build/cmake] [-R PATTERN] [further CMake arguments]
# A folder that holds a build of the addon is shared, so that the core is compiled once. With -R only the tests whose names match are
# built and run. CTEST_ARGS adds arguments to ctest.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-build/cmake}
shift || true
pattern=
if [ "${1:-}" = -R ]; then
  pattern=$2
  shift 2
fi
if [ ! -e "$folder/CMakeCache.txt" ] && command -v ninja >/dev/null; then set -- -G Ninja "$@"; fi
jobs=$(getconf _NPROCESSORS_ONLN)
cmake -S . -B "$folder" -DAGENTINFER_TESTS=ON "$@" >/dev/null
targets=()
if [ -n "$pattern" ]; then
  mapfile -t names < <(ctest --test-dir "$folder" -N -R "$pattern" | sed -n 's/.*Test *#[0-9]*: .*\/\(.*\)/\1/p')
  targets=(--target "${names[@]}")
fi
cmake --build "$folder" -j "$jobs" "${targets[@]}"
ctest --test-dir "$folder" -j "$jobs" --output-on-failure --no-tests=error ${pattern:+-R "$pattern"} ${CTEST_ARGS:-}
