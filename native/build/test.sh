#!/usr/bin/env bash
# Builds and runs the native tests. Usage: test.sh [folder under build/, default native-tests] [further CMake arguments]
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=build/${1:-native-tests}
shift || true
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
jobs=$(getconf _NPROCESSORS_ONLN)
cmake -S . -B "$folder" "${generator[@]}" "$@" >"/dev/null"
cmake --build "$folder" -j "$jobs"
ctest --test-dir "$folder" -j "$jobs" --output-on-failure --no-tests=error
