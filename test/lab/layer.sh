#!/bin/sh
# layer.sh ROOT OUT PACKAGE...: installs Debian packages over ROOT without changing it and leaves what came about as
# OUT, a tar of the overlay's upper directory. Runs under the cache's lock, in a mount namespace of its own.
set -eu
root=$1 out=$2
shift 2
# Made by another one while we waited for the lock?
[ ! -e "$out" ] || exit 0
# Whoever left these did not live to finish: we have the lock.
rm -f "${out%/*}"/*.tar.tmp
trap 'rm -f "$out.tmp"' EXIT

scratch=/run/berth-lab
mount -t tmpfs -o mode=0755 berth-lab $scratch
mkdir $scratch/upper $scratch/work $scratch/tree
tree=$scratch/tree
mount -t overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" berth-lab $tree
mount -t proc proc $tree/proc
mount --rbind /dev $tree/dev
mount -t tmpfs -o mode=0755 tmpfs $tree/run
mount -t tmpfs -o mode=1777 tmpfs $tree/tmp
# Downloaded packages and lists are no part of the layer.
mkdir -p $tree/var/cache/apt/archives $tree/var/lib/apt/lists
mount -t tmpfs -o mode=0755 tmpfs $tree/var/cache/apt
if [ "$root" = / ]; then
  # A resolv.conf that is a link points into the /run just hidden.
  if [ -L $tree/etc/resolv.conf ]; then
    target=$(readlink -m /etc/resolv.conf)
    mkdir -p "$tree$(dirname "$target")"
    cp "$target" "$tree$target"
  fi
else
  cp --remove-destination -L /etc/resolv.conf $tree/etc/resolv.conf
fi

in_tree() {
  env DEBIAN_FRONTEND=noninteractive chroot $tree "$@"
}

had_policy=no
[ ! -e $tree/usr/sbin/policy-rc.d ] || had_policy=yes
printf '#!/bin/sh\nexit 101\n' >$tree/usr/sbin/policy-rc.d
chmod 755 $tree/usr/sbin/policy-rc.d

ls $tree/var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || in_tree apt-get -q update || true
# Lists that are too old name packages that are no longer there.
in_tree apt-get -q -y --no-install-recommends install "$@" || {
  in_tree apt-get -q update || true
  in_tree apt-get -q -y --no-install-recommends install "$@"
}
if [ $had_policy = yes ]; then
  cp -a "$root/usr/sbin/policy-rc.d" $tree/usr/sbin/policy-rc.d
else
  rm $tree/usr/sbin/policy-rc.d
fi

umount -R $tree
rm -rf $scratch/upper/var/lib/apt/lists
tar --xattrs --xattrs-include='*' -cpf "$out.tmp" -C $scratch/upper .
mv "$out.tmp" "$out"
