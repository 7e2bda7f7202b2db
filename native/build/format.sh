#!/usr/bin/env bash
# Formats the C++ sources, or with --check says which are not formatted. Needs clang-format 14, whose output later versions differ from.
set -euo pipefail
cd "$(dirname "$0")/../.."
tool=$(command -v clang-format-14 || command -v clang-format || true)
if ! "${tool:-false}" --version 2>/dev/null | grep -q 'version 14\.'; then
  echo "format.sh: expected clang-format 14, found ${tool:-none} (Debian: apt-get install clang-format-14)" >&2
  exit 1
fi
action=(-i)
[ "${1:-}" = --check ] && action=(--dry-run -Werror)
find native test/native test/ascend-emulator bench/native \( -name '*.cc' -o -name '*.h' \) -print0 2>/dev/null | xargs -0 "$tool" "${action[@]}"
