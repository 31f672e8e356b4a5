#!/bin/sh
# deb.sh [DIRECTORY]: makes berth_VERSION_ARCHITECTURE.deb, in build/ when no directory is given, out of what stage.sh
# lays out and of src/build/deb. Needs a build. By dpkg-deb alone: debhelper would bring eighty packages along for what is
# a few lines here. Whoever builds, and when, makes no difference to the bytes; $SOURCE_DATE_EPOCH dates all of it, and
# $DEBFULLNAME and $DEBEMAIL sign it.
set -eu
cd "$(dirname "$0")/../.."
export LC_ALL=C
umask 022

version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json | tr - '~')
architecture=$(dpkg --print-architecture)
maintainer="${DEBFULLNAME-The berth developers} <${DEBEMAIL-berth@packages.invalid}>"
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH
package=${1-build}/berth_${version}_$architecture.deb

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/debian/berth
mkdir -p "$tree/DEBIAN"
chmod 755 "$tree"
NODE=/usr/bin/node sh src/build/stage.sh "$tree"
modules=$(find "$tree/usr/lib" -name '*.node' | sort)
# shellcheck disable=SC2086 # the names are ours and have no spaces
strip --strip-unneeded --remove-section=.comment --remove-section=.note $modules
strip --remove-section=.comment --remove-section=.note "$tree/usr/bin/berth-claim" \
  "$tree/usr/lib/systemd/system-generators/berth-generator"

# What the policy wants of manual pages, changelog and licences: the latter stand in one file.
doc=$tree/usr/share/doc/berth
find "$tree/usr/share/man" -type f -exec gzip -9n {} +
find "$tree/usr/lib/berth" "$doc" -name 'LICENSE*' -delete
install -m 644 src/build/deb/copyright "$doc/copyright"
cat >"$doc/changelog" <<END
berth ($version) unstable; urgency=medium

  * What is new is in CHANGELOG.md, beside this file.

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
gzip -9n "$doc/changelog"
install -Dm 644 src/build/deb/lintian-overrides "$tree/usr/share/lintian/overrides/berth"

# dpkg-shlibdeps insists on a debian/control in its working directory.
printf 'Source: berth\n\nPackage: berth\nArchitecture: any\n' >"$work/debian/control"
# shellcheck disable=SC2086
libraries=$(cd "$work" && dpkg-shlibdeps -O $modules 2>"$work/shlibdeps.log" | sed -n 's/^shlibs:Depends=//p')
[ -n "$libraries" ] || {
  cat "$work/shlibdeps.log" >&2
  exit 1
}
# Any later one will do: berth's addon has Node's stable interface, and without sd-notify berthd goes on (notify.ts).
node='nodejs (>= 20.19)'

(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
for script in postinst prerm postrm; do
  install -m 755 src/build/deb/$script "$tree/DEBIAN/"
done
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@MAINTAINER@/$maintainer/" \
  -e "s/@INSTALLED_SIZE@/$(du -sk --apparent-size --exclude=DEBIAN "$tree" | cut -f 1)/" \
  -e "s/@SHARED_LIBRARIES@/$libraries/" -e "s/@NODE@/$node/" \
  src/build/deb/control >"$tree/DEBIAN/control"

dpkg-deb --root-owner-group -Zxz --build "$tree" "$package.new" >/dev/null
mv "$package.new" "$package"
echo "$package"
