#!/bin/sh
# The fuzz tests at length: more than a million inputs, or FUZZ_RUNS of them for each target. Prints how many each got, and
# the sum. Needs a build; FUZZ_SEED repeats a run.
set -eu
cd "$(dirname "$0")/.."
FUZZ_RUNS=${FUZZ_RUNS:-long}
FUZZ_COUNTS=$(mktemp)
export FUZZ_RUNS FUZZ_COUNTS
trap 'rm -f "$FUZZ_COUNTS"' EXIT
status=0
sh test/run.sh fuzz || status=$?
sort "$FUZZ_COUNTS" | awk '{ printf "%-24s %9d\n", $1, $2; sum += $2 } END { printf "%-24s %9d inputs\n", "all", sum }'
exit $status
