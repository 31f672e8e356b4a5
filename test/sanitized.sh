#!/bin/sh
# sanitized.sh [FOLDER...]: builds the C that is installed with AddressSanitizer (which has LeakSanitizer in it) and
# UndefinedBehaviorSanitizer, and runs the tests with it, in build/sanitized, a copy of the project. Needs a build.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- unit/native unit/protocol unit/systemd unit/generator unit/daemon integration golden fault fuzz
copy=$PWD/build/sanitized
reports=$copy/reports
rm -rf "$copy"
mkdir -p "$reports" "$copy/build"
chmod 1777 "$reports"
cp -a src test units generators docs package.json README.md CHANGELOG.md LICENSE "$copy/"
ln -s "$(readlink -f node_modules)" "$copy/node_modules"
tar -C build --exclude='*.node' -cf - js lib | tar -C "$copy/build" -xf -

cd "$copy"
unset NODE_EXTRA_CA_CERTS
CFLAGS='-g -O1 -fno-omit-frame-pointer -U_FORTIFY_SOURCE -fsanitize=address,undefined -fno-sanitize-recover=all'
export CFLAGS
sh src/build/native.sh
unset CFLAGS

# Node itself is not built so, and what loads a sanitized addon must have the runtime first. Leaks are judged below, by
# whose they are: every program of the machine that a test runs has the runtime, too.
LD_PRELOAD=$(cc -print-file-name=libasan.so)
ASAN_OPTIONS=log_path=$reports/report:detect_leaks=1:abort_on_error=0:exitcode=86
LSAN_OPTIONS=exitcode=0:print_suppressions=0:suppressions=$copy/test/sanitizers.supp
UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports/report
export LD_PRELOAD ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS
export BERTH_SLOWDOWN=5
status=0
# Not what runs no C of ours: the manual pages' own programs do not like the runtime, and take their time.
files=$(for folder in "$@"; do find "build/js/test/$folder" -name '*.test.js' ! -path '*/docs/*' ! -name 'deb.test.js'; done | sort)
# shellcheck disable=SC2086 # the names are ours and have no spaces
node --test --test-timeout=600000 --test-reporter=spec $files || status=$?
unset LD_PRELOAD
for report in "$reports"/*; do
  if [ -e "$report" ] && grep -Eq 'berth\.node|berth-claim|berth-generator|build/bin/|runtime error' "$report"; then
    cat "$report" >&2
    status=1
  fi
done
exit $status
