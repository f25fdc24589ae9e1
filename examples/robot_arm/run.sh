#!/bin/sh
# Build the library, build the controller, run it: sh examples/robot_arm/run.sh
#
# GRADC and CC name the two compilers.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

${GRADC:-gradc} build "$here/arm.grad" -o "$folder/libarm.so"
${CC:-cc} -std=c11 -O2 -Wall -Wextra "-I$folder" "$here/control.c" "$folder/libarm.so" -lm \
    "-Wl,-rpath,$folder" -o "$folder/control"
"$folder/control"
