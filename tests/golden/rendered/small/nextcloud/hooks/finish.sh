#!/bin/sh
# Before every start: what was cut off in the middle is brought to its end. The image takes the version of the code for
# the proof that it installed or upgraded, and writes it before it does.
set -eu
cd /var/www/html
case $(php occ status --output=json -n 2>/dev/null || true) in
*'"installed":false'*)
    php /kmu/abandoned.php
    rm -f version.php
    touch config/CAN_INSTALL
    echo "kmuctl: the installation did not reach its end; the next start does it again"
    exit 1
    ;;
*'"needsDbUpgrade":true'*)
    echo "kmuctl: the upgrade did not reach its end; it goes on"
    php occ upgrade -n
    ;;
esac
