#!/bin/sh
# judge.sh DIRECTORY: what the sanitizers found in berth, of all reports below DIRECTORY. Ends with 1 where there is
# anything. A leak is berth's where one of its functions has asked for the memory, of the C library or of another one. Not
# where Node did so on its behalf: Node, and whatever other program of the machine had the runtime, keep much until they
# end, on purpose.
set -eu
find "$1" -type f -size +0 -exec awk '
  # The frames of a block, from the allocation outwards.
  function is_ours(  frames, count, i) {
    if (block ~ /ERROR: AddressSanitizer|runtime error:|LeakSanitizer has encountered a fatal error/) return 1
    if (block !~ /leak of /) return 0
    count = split(block, frames, "\n")
    for (i = 1; i <= count; i++) {
      if (frames[i] ~ /\/node\+0x| in (v8|node|v8impl)::| in (napi|uv)_/) return 0
      if (frames[i] ~ /berth\.node|berth-claim|berth-generator|src\/native\/|generators\//) return 1
    }
    return 0
  }
  function judge() {
    if (is_ours()) ours = 1
    text = text block "\n"
    block = ""
  }
  function finish() {
    judge()
    if (ours) {
      print file ":\n" text
      found = 1
    }
    text = ""
    ours = 0
  }
  FNR == 1 && NR > 1 { finish() }
  FNR == 1 { file = FILENAME }
  /^$/ { judge(); next }
  { block = block $0 "\n" }
  END { finish(); exit found }
' {} +
