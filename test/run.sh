#!/bin/sh
# Runs the tests: all of them, or the folders named (`sh test/run.sh lab unit`). With BERTH_MUST_RUN=1 a test that
# would skip for want of root or of the lab fails instead, as CI wants it.
set -eu
cd "$(dirname "$0")/.."
unset NODE_EXTRA_CA_CERTS
if [ $# -eq 0 ]; then
  sh src/build/lint.sh
  set -- unit integration golden fault fuzz lab
fi
files=$(for folder in "$@"; do find "build/js/test/$folder" -name '*.test.js' 2>/dev/null; done | sort)
[ -n "$files" ] || {
  echo "There is no test in $*." >&2
  exit 1
}
# shellcheck disable=SC2086 # the names are ours and have no spaces
exec node --test --test-reporter=spec $files
