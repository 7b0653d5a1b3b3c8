# shellcheck shell=bash
# Sourced by the other scripts: the project's own Python environment in .venv, made or refreshed when needed.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

require_root() {
    [ "$(id -u)" = 0 ] || { say "needs root: it starts a Docker engine and owns state folders"; exit 1; }
}

# install_apt PROGRAM=PACKAGE...: packages for programs that are missing
install_apt() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing with apt: ${missing[*]}"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# prepare_python GROUP...: kmuctl and the named dependency groups; nothing to do when pyproject.toml did not change
prepare_python() {
    local stamp groups group
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        install_apt no-such-program=python3-venv
    fi
    stamp=$(cat pyproject.toml kmuctl/__init__.py | sha256sum | cut -c1-16)-$*
    [ "$(cat .venv/.prepared 2>/dev/null)" = "$stamp" ] && return
    groups=()
    for group in "$@"; do groups+=(--group "$group"); done
    say "installing kmuctl and what it needs into .venv"
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --upgrade "pip>=25.1"
    .venv/bin/python -m pip install --quiet --editable . "${groups[@]}"
    echo "$stamp" >.venv/.prepared
}
