#!/bin/sh
# judge.sh DIRECTORY: what the sanitizers found in berth, of all reports below DIRECTORY. Ends with 1 where
# there is anything. A leak is berth's where one of its functions is on the way to the allocation: Node, and whatever
# other program of the machine had the runtime, keep much until they end, on purpose.
set -eu
find "$1" -type f -size +0 -exec awk '
  function judge() {
    if (block ~ /ERROR: AddressSanitizer|runtime error:|LeakSanitizer has encountered a fatal error/) ours = 1
    if (block ~ /leak of / && block ~ /berth\.node|berth-claim|berth-generator|build\/bin\/|src\/native\/|generators\//)
      ours = 1
    text = text block "\n"
    # A report goes on behind an empty line: the error first, then who allocated and freed.
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
