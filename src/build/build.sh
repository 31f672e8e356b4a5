#!/bin/sh
# Builds everything into build/: js/ (src and test as modules, with the addon beside its loader), lib/ (what is
# installed: one bundled file a program, with the addon) and bin/ (the C programs).
set -eu
cd "$(dirname "$0")/../.."
export PATH="$PWD/node_modules/.bin:$PATH"

tsc -p .
sh src/build/native.sh
node src/build/bundle.mjs
