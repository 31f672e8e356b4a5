#!/bin/sh
# Compiles the addon and the C programs. CFLAGS adds to the flags of those that are installed, which are then not linked
# statically (test/sanitized.sh sets it); CC names the compiler.
set -eu
cd "$(dirname "$0")/../.."
: "${CC:=cc}"
warnings='-std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wvla'
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

addon=src/native/addon
shared='generators/stamps.c generators/files.c'
# shellcheck disable=SC2086
if newer build/js/src/native/berth.node $addon/*.c $addon/*.h $shared generators/*.h; then
  # -fanalyzer costs a second and finds leaked descriptors; node's own symbols are resolved when it loads the addon.
  # shellcheck disable=SC2086
  $CC $warnings $hardening -fanalyzer -fPIC -shared -Wl,-z,relro,-z,now -fvisibility=hidden ${CFLAGS-} \
    -Inode_modules/node-api-headers/include -DNAPI_VERSION=9 -o build/js/src/native/berth.node $addon/*.c $shared
  cp build/js/src/native/berth.node build/lib/berth.node
fi

# Static, because it stands in every service's start path: 1.3 ms with musl, 1.5 with glibc, 1.8 with a dynamic one.
claim=src/native/claim
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
if newer build/bin/berth-claim $claim/*.c $claim/*.h package.json; then
  compiler=$CC
  [ -z "${CFLAGS-}" ] && command -v musl-gcc >/dev/null && compiler=musl-gcc
  # shellcheck disable=SC2086
  $compiler $warnings -O2 -fanalyzer ${CFLAGS--static} "-DVERSION=\"$version\"" -o build/bin/berth-claim $claim/*.c
fi
ln -sf berth-claim build/bin/portrelease

# Static as well: at boot it runs before anything else does.
guard=generators
if newer build/bin/berth-generator $guard/*.c $guard/*.h package.json; then
  compiler=$CC
  [ -z "${CFLAGS-}" ] && command -v musl-gcc >/dev/null && compiler=musl-gcc
  # shellcheck disable=SC2086
  $compiler $warnings -O2 -fanalyzer ${CFLAGS--static} "-DVERSION=\"$version\"" -o build/bin/berth-generator $guard/*.c
fi

# What the tests, the benchmark and the demonstration run: one program a file, static for units with a root directory of
# their own.
for file in $(find test -name '*.c' ! -path 'test/fuzz/*' ! -path '*/preload/*' ! -path 'test/sanitizers/*'); do
  program=build/bin/$(basename "$file" .c)
  if newer "$program" "$file" $claim/filter.*; then
    # shellcheck disable=SC2086
    $CC $warnings $hardening -fanalyzer -static -o "$program" "$file"
  fi
done

for file in $(find test -path '*/preload/*.c'); do
  library=build/bin/$(basename "$file" .c).so
  if newer "$library" "$file"; then
    # shellcheck disable=SC2086
    $CC $warnings $hardening -fanalyzer -fPIC -shared -o "$library" "$file"
  fi
done

# Of a parser and what calls it with whatever there is, built to find what it does wrong.
driver=test/fuzz/targets/driver.c
for file in $(find test -path 'test/fuzz/targets/*.c' ! -path $driver); do
  program=build/bin/fuzz-$(basename "$file" .c)
  if newer "$program" "$file" $driver $claim/*.c $claim/*.h $guard/*.c $guard/*.h $addon/*.c $addon/*.h; then
    # shellcheck disable=SC2086
    $CC $warnings -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
      -Inode_modules/node-api-headers/include -DNAPI_VERSION=9 -o "$program" "$file" $driver
  fi
done
