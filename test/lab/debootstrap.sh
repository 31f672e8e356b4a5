#!/bin/sh
# debootstrap.sh SUITE OUT: a minimal Debian with systemd in the directory OUT. Runs under the cache's lock, in a
# mount namespace of its own.
set -eu
suite=$1 out=$2
[ ! -e "$out" ] || exit 0
rm -rf --one-file-system "$out.tmp"
trap 'rm -rf --one-file-system "$out.tmp"' EXIT
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2,procps "$suite" "$out.tmp"
rm -rf "$out.tmp"/var/cache/apt/archives/*.deb
mv "$out.tmp" "$out"
