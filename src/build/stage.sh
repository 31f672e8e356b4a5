#!/bin/sh
# Lays the whole installation out below DESTDIR, as a package would: stage.sh DESTDIR. Needs a build.
set -eu
cd "$(dirname "$0")/../.."
[ $# -eq 1 ] || {
  echo "usage: npm run stage -- DESTDIR" >&2
  exit 2
}
destdir=${1%/}
lib=$destdir/usr/lib/berth
umask 022

# /usr/bin/node is where distributions have it, and a package of theirs; elsewhere the one that built this.
node=${NODE-/usr/bin/node}
[ -n "${NODE-}" ] || [ -x $node ] || node=$(command -v node)

mkdir -p "$lib/node_modules" "$destdir/usr/bin" "$destdir/usr/sbin" "$destdir/etc/berth"
for program in berth berthd generator attacker; do
  { echo "#!$node"; cat "build/lib/$program.cjs"; } >"$lib/$program.cjs.new"
  chmod 755 "$lib/$program.cjs.new"
  # Renamed into place, so that an upgrade never shows a half-written program.
  mv "$lib/$program.cjs.new" "$lib/$program.cjs"
done
ln -sf ../lib/berth/berth.cjs "$destdir/usr/bin/berth"
ln -sf ../lib/berth/berthd.cjs "$destdir/usr/sbin/berthd"
install -m 644 build/lib/berth.node "$lib/"
install -m 755 build/bin/berth-claim "$destdir/usr/bin/"
ln -sf ../bin/berth-claim "$destdir/usr/sbin/portrelease"
install -Dm 755 -t "$destdir/usr/lib/systemd/system-generators" build/bin/berth-generator

# The two packages with native parts cannot be bundled. Only what they load at run time is taken.
install -Dm 644 -t "$lib/node_modules/sd-notify" node_modules/sd-notify/index.js node_modules/sd-notify/package.json \
  node_modules/sd-notify/LICENSE
install -Dm 644 -t "$lib/node_modules/sd-notify/build/Release" node_modules/sd-notify/build/Release/notify.node
for package in bindings file-uri-to-path node-unix-socket $(cd node_modules && echo node-unix-socket-linux-*); do
  (cd node_modules && find "$package" -type f \( -name '*.js' -o -name '*.node' -o -name package.json -o -name 'LICENSE*' \) \
    ! -path '*/test/*' ! -name 'jest.config.js') | while read -r file; do
    install -Dm 644 "node_modules/$file" "$lib/node_modules/$file"
  done
done

install -Dm 644 -t "$destdir/usr/lib/systemd/system" units/berth.service units/berth.socket \
  units/berth-portreserve.socket
for page in docs/man/*.[1-9]; do
  install -Dm 644 -t "$destdir/usr/share/man/man${page##*.}" "$page"
done
install -Dm 644 docs/completions/berth.bash "$destdir/usr/share/bash-completion/completions/berth"
install -Dm 644 -t "$destdir/usr/share/zsh/vendor-completions" docs/completions/_berth
install -Dm 644 -t "$destdir/usr/share/doc/berth" README.md CHANGELOG.md LICENSE
install -Dm 644 -t "$destdir/usr/share/doc/berth/docs" docs/*.md
