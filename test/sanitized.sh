#!/bin/sh
# sanitized.sh [FOLDER|FILE...]: builds the C that is installed with AddressSanitizer (which has LeakSanitizer in it) and
# UndefinedBehaviorSanitizer, and runs the tests with it, in build/sanitized, a copy of the project: all but the lab, or
# those named (`fault`, `lab`, `lab/store`). Needs a build.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- unit/native unit/protocol unit/systemd unit/generator unit/daemon integration golden fault fuzz sanitizers/addon
copy=$PWD/build/sanitized
reports=$copy/reports
rm -rf "$copy"
mkdir -p "$reports" "$copy/build"
chmod 1777 "$reports"
cp -a src test units generators docs package.json README.md CHANGELOG.md LICENSE "$copy/"
ln -s "$(readlink -f node_modules)" "$copy/node_modules"
tar -C build --exclude='*.node' -cf - js lib | tar -C "$copy/build" -xf -
plain=$PWD/build/js/src/native/berth.node

cd "$copy"
unset NODE_EXTRA_CA_CERTS
CFLAGS='-g -O1 -fno-omit-frame-pointer -U_FORTIFY_SOURCE -fsanitize=address,undefined -fno-sanitize-recover=all'
CFLAGS="$CFLAGS -include $copy/test/sanitizers/options.h $copy/build/reports.o"
mkdir -p build/bin
cc -O2 -fPIC "-DREPORTS=\"$reports\"" -c -o build/reports.o test/sanitizers/reports.c
cc -shared -o build/bin/sanitizer-reports.so build/reports.o
export CFLAGS
sh src/build/native.sh
# What proves that a fault would be seen (sanitizers/addon and sanitizers/lab).
planted="-std=gnu11 -D_GNU_SOURCE $CFLAGS -Wl,--wrap=sendmsg test/sanitizers/planted.c"
# shellcheck disable=SC2086
cc $planted '-DVERSION="planted"' -o build/bin/berth-claim.planted src/native/claim/*.c
# shellcheck disable=SC2086
cc $planted -fPIC -shared -Inode_modules/node-api-headers/include -DNAPI_VERSION=9 -o build/lib/berth.planted.node \
  src/native/addon/*.c generators/stamps.c generators/files.c
unset CFLAGS
export BERTH_SLOWDOWN=5
status=0

# Not what runs no C of ours: the manual pages' own programs do not like the runtime, and take their time. Nor in the lab
# what is about the build itself: analyse reads the sources, and deb makes packages, which strip(1) the programs, name the
# libraries that they need, and have them run by the Node of another package.
left_out='^$|/docs/|/(deb|analyse)\.test\.js$'
files_of() {
  for name in "$@"; do
    [ ! -e "build/js/test/$name.test.js" ] || echo "build/js/test/$name.test.js"
    [ ! -d "build/js/test/$name" ] || find "build/js/test/$name" -name '*.test.js'
  done | sort | grep -Ev "$left_out" || true
}
files=$(files_of "$@" | grep -v '/lab[/.]') || true
labs=$(files_of "$@" | grep '/lab[/.]') || true

# Node itself is not built so, and what loads a sanitized addon must have the runtime first. Leaks change no exit status
# (nor does another fault then, unless it aborts), and are judged below, by whose they are: every program of the machine
# that a test runs has the runtime, too.
if [ -n "$files" ]; then
  (
    LD_PRELOAD="$(cc -print-file-name=libasan.so) $copy/build/bin/sanitizer-reports.so"
    ASAN_OPTIONS=abort_on_error=1
    LSAN_OPTIONS=exitcode=0
    UBSAN_OPTIONS=print_stacktrace=1:exitcode=86
    export LD_PRELOAD ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS
    # shellcheck disable=SC2086 # the names are ours and have no spaces
    exec node --test --test-timeout=600000 --test-reporter=spec $files
  ) || status=$?
fi

# In the labs only berth has the runtime (test/lab/sanitized.ts); the tests themselves have the addon as it is installed.
if [ -n "$labs" ]; then
  cp "$plain" build/js/src/native/berth.node
  export BERTH_SANITIZER_REPORTS="$reports"
  # shellcheck disable=SC2086
  node --test --test-timeout=1800000 --test-reporter=spec $labs || status=$?
fi

sh test/sanitizers/judge.sh "$reports" >&2 || status=1
exit $status
