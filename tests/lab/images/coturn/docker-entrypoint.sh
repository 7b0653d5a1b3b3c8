#!/bin/bash
# As upstream: options alone mean turnserver, and every argument is evaluated by the shell.
set -e

# Upstream asks public DNS resolvers here. kmuctl gives the address itself, so in the lab this is a mistake.
if [[ "$*" == *detect-external-ip* ]]; then
    echo "lab: detect-external-ip was asked for; give coturn its own command" >&2
    exit 1
fi

[ "${1:0:1}" != - ] || set -- turnserver "$@"
expanded=()
for argument in "$@"; do
    expanded+=("$(eval "echo $argument")")
done
exec "${expanded[@]}"
