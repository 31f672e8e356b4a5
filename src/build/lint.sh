#!/bin/sh
# Types are checked by the build; this checks the rest.
set -eu
cd "$(dirname "$0")/../.."
export PATH="$PWD/node_modules/.bin:$PATH"
prettier --check --log-level warn .
eslint --max-warnings 0 .
