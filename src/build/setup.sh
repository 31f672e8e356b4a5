#!/bin/sh
# Installs what building and testing need and the machine lacks: Debian packages (as root; anybody else is told the
# line to run) and the npm packages of package-lock.json. Says nothing when there is nothing to do.
set -eu
cd "$(dirname "$0")/../.."

# What is wanted, and the file or command that tells that it is there. The tests' own services (CUPS and the like) are
# installed inside the lab, never here.
missing=''
need() {
  package=$1
  shift
  for sign in "$@"; do
    case $sign in
      /*) [ -e "$sign" ] && return 0 ;;
      *) command -v "$sign" >/dev/null && return 0 ;;
    esac
  done
  missing="$missing $package"
}
need gcc cc
need libc6-dev /usr/include/stdio.h
need make make
need g++ c++
need python3 python3
need libsystemd-dev /usr/include/systemd/sd-daemon.h
need musl-tools musl-gcc
need man-db man
need curl curl
need binutils strip
need dpkg-dev dpkg-shlibdeps
# Only root can boot the lab and measure against s6.
if [ "$(id -u)" -eq 0 ]; then
  need systemd-container systemd-nspawn
  need debootstrap debootstrap
  need s6 s6-fdholder-retrieve
  need iproute2 ip
fi

# Node's own headers, for sd-notify, lie beside it wherever nodejs.org or its packagers put them; Debian's own package of
# Node, which has its library apart, has them in another package.
headers=''
for prefix in "$(node -p 'require("node:path").resolve(process.execPath, "../..")')" /usr; do
  [ -e "$prefix/include/node/node_version.h" ] && headers=$prefix && break
done
if [ -z "$headers" ] && ldd "$(command -v node)" | grep -q libnode; then
  missing="$missing libnode-dev"
  headers=/usr
fi

if [ -n "$missing" ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "berth needs these Debian packages to build; as root, run:" >&2
    echo "    apt-get install --no-install-recommends$missing" >&2
    exit 1
  fi
  echo "Installing$missing" >&2
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # a list of packages
  apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
  }
fi

# No install scripts: the one that is wanted, sd-notify's, is run below with Node's own headers, and npm 12 would skip it.
if ! cmp -s package-lock.json node_modules/.package-lock.stamp; then
  echo "Installing npm packages" >&2
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  cp package-lock.json node_modules/.package-lock.stamp
fi

addon=node_modules/sd-notify/build/Release/notify.node
if [ ! -e $addon ]; then
  echo "Building sd-notify" >&2
  # Without headers here node-gyp fetches them.
  [ -n "$headers" ] && export npm_config_nodedir="$headers"
  # The node-gyp that npm brings along, or Debian's own package of it.
  npm=$(readlink -f "$(command -v npm)")
  for gyp in "${npm%/bin/*}/node_modules/node-gyp/bin/node-gyp.js" /usr/share/nodejs/node-gyp/bin/node-gyp.js; do
    [ -e "$gyp" ] && break
  done
  log=$PWD/node_modules/sd-notify/build.log
  if ! (cd node_modules/sd-notify && node "$gyp" rebuild) >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
fi
