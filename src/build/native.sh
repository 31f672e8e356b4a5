#!/bin/sh
# Compiles the addon and the C programs. CFLAGS adds to the flags (the sanitizer run does); CC names the compiler.
set -eu
cd "$(dirname "$0")/../.."
: "${CC:=cc}"
warnings='-std=gnu11 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wvla'
hardening='-O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2'
mkdir -p build/js/src/native build/lib build/bin

# newer TARGET SOURCE...: true when TARGET is missing or older than a SOURCE or this script.
newer() {
  target=$1
  shift
  [ -e "$target" ] || return 0
  for source in "$@" src/build/native.sh; do
    [ "$source" -nt "$target" ] && return 0
  done
  return 1
}
