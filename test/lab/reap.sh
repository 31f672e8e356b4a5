#!/bin/sh
# reap.sh [CGROUP]: removes the cgroup of a lab that is down, and those whose harness is no more. Runs in a mount
# namespace of its own. A lab's cgroup is named berth-lab.PID.STARTTIME.N for the process that owns it.
set -eu
top=/run/berth-lab
mount -t cgroup2 none $top

# Another harness may be at the same cgroup: one that vanishes meanwhile is as good.
remove() {
  [ -d "$1" ] || return 0
  echo 1 2>&- >"$1/cgroup.kill" || true
  tries=0
  while [ -d "$1" ] && ! grep -qs '^populated 0' "$1/cgroup.events"; do
    tries=$((tries + 1))
    if [ $tries -gt 250 ]; then
      echo "reap.sh: processes of $1 do not die" >&2
      exit 1
    fi
    sleep 0.02
  done
  find "$1" -depth -type d -delete 2>&- || [ ! -d "$1" ]
}

[ $# -eq 0 ] || remove "$top/$1"
for stale in $top/berth-lab.*; do
  [ -d "$stale" ] || continue
  owner=${stale#"$top"/berth-lab.}
  pid=${owner%%.*}
  start=${owner#*.}
  start=${start%%.*}
  # The 22nd field of proc(5)'s stat; the second may hold spaces and parentheses.
  now=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20 || true)
  [ "$now" = "$start" ] || remove "$stale"
done
