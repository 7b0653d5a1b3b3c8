#!/bin/sh
# Starts Valkey the way the official image does.
set -e

case $1 in -* | *.conf) set -- valkey-server "$@" ;; esac

if [ "$1" = valkey-server ]; then
    if [ "$(id -u)" = 0 ]; then
        find . \! -user valkey -exec chown valkey '{}' +
        exec setpriv --reuid=valkey --regid=valkey --init-groups "$0" "$@"
    fi
    [ "$(umask)" != 0022 ] || umask 0077
    # The official image is compiled with protected mode off; Debian's binary has it on.
    case " $* " in *protected-mode*) ;; *) set -- "$@" --protected-mode no ;; esac
fi
exec "$@"
