#!/bin/sh
# analyse.sh [FILE...]: has cppcheck and clang-tidy read the C that is installed, or those files: whichever of the two is
# there, and it is an error when neither is. test/lab/analyse.test.ts runs it where both are. (gcc's own -fanalyzer is part
# of each build, of the tests' programs, too.)
set -eu
cd "$(dirname "$0")/../.."
# shellcheck disable=SC2046 # the names are ours and have no spaces
[ $# -gt 0 ] || set -- $(find src/native generators -name '*.c' | sort)
# cppcheck knows no machine of its own.
defines='-D__x86_64__ -D_GNU_SOURCE -DNAPI_VERSION=9 -DVERSION="0"'
includes='-Inode_modules/node-api-headers/include'
status=0 ran=no

if command -v cppcheck >/dev/null; then
  ran=yes
  # Off: what it makes of a check before a call that never returns, since it does not see _Noreturn. clang looks for that.
  # shellcheck disable=SC2086 # lists
  cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability \
    --suppress='*:node_modules/*' --suppress=nullPointerRedundantCheck $defines $includes "$@" || status=1
fi

if command -v clang-tidy >/dev/null; then
  ran=yes
  # Off: what wants memcpy_s() and the like, which no libc here has; what is for threads, of which there are none; each
  # unread result of snprintf() and the like, and numbers read by sscanf(); that two parameters have one type; the
  # kernel's narrow types; an assignment in an if; an allocation of nothing. And a mistake of clang-tidy's, which takes no
  # notice of va_start() in any file but the first.
  checks='-*,clang-analyzer-*,bugprone-*,cert-*
    -clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling,-clang-analyzer-security.insecureAPI.strcpy
    -clang-analyzer-valist.Uninitialized,-clang-analyzer-optin.portability.UnixAPI,-cert-err33-c,-cert-err34-c
    -bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,-bugprone-assignment-in-if-condition'
  # shellcheck disable=SC2086
  clang-tidy --quiet --warnings-as-errors='*' --checks="$(echo $checks | tr ' ' ',')" "$@" -- \
    -std=gnu11 $defines -Wno-macro-redefined $includes 2>/dev/null || status=1
fi

[ $ran = yes ] || {
  echo 'There is neither cppcheck nor clang-tidy here.' >&2
  exit 1
}
exit $status
