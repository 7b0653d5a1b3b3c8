#!/bin/bash
# As upstream: options alone mean turnserver, and every argument is evaluated by the shell.
set -e

[ "${1:0:1}" != - ] || set -- turnserver "$@"
expanded=()
for argument in "$@"; do
    expanded+=("$(eval "echo $argument")")
done
exec "${expanded[@]}"
