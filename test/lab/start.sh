#!/bin/sh
# start.sh ROOT LAYER CGROUP MACHINE: one lab, from its mounts to its end. Runs as the first process of a mount and a
# PID namespace of its own, so that whatever happens to the harness, the lab's processes and mounts go with this one.
#
# ROOT is the tree to boot, below it nothing is changed. LAYER is a tar of an overlay's upper directory to put over
# it, or empty. Says "held" on standard output when the tree is there, waits for a line on standard input while the
# harness prepares it, then boots it and stays until it is down.
set -eu
root=$1 layer=$2 cgroup=$3 machine=$4
lab=/run/berth-lab

mount -t tmpfs -o mode=0755 berth-lab $lab
mkdir $lab/upper $lab/work $lab/tree $lab/cgroup
lower=$root
if [ -n "$layer" ]; then
  # A directory on / cannot be a layer beside / itself (overlayfs refuses overlapping layers): hence the tar.
  mkdir $lab/layer
  tar --xattrs --xattrs-include='*' -xpf "$layer" -C $lab/layer
  lower=$lab/layer:$root
fi
mount -t overlay -o "lowerdir=$lower,upperdir=$lab/upper,workdir=$lab/work" berth-lab $lab/tree

# Where the machine's cgroups are v1, nspawn would put every lab into one and the same cgroup.
mount -t cgroup2 none $lab/cgroup
mkdir "$lab/cgroup/$cgroup"

# nspawn's locks and propagation directories would outlive a killed lab.
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 berth-lab /run/systemd/nspawn

echo held
read -r _
echo $$ >"$lab/cgroup/$cgroup/cgroup.procs"

# What a sanitized build finds outlives the lab, in a directory of its own.
reports=${BERTH_SANITIZER_REPORTS:+$BERTH_SANITIZER_REPORTS/$cgroup}
if [ -n "$reports" ]; then
  mkdir -p "$reports"
  chmod 1777 "$reports"
  reports=--bind=$reports:/var/log/berth-sanitizers
fi
# Without nspawn's own seccomp filter the services meet the system calls that they would meet on a machine.
env -i PATH="$PATH" SYSTEMD_SECCOMP=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn \
  --quiet --directory=$lab/tree --machine="$machine" --register=no --keep-unit --settings=no --private-network --capability=CAP_SYS_RESOURCE \
  --rlimit=NOFILE=1024:524288 \
  ${reports:+"$reports"} --resolv-conf=off --timezone=off --link-journal=no --boot </dev/null
