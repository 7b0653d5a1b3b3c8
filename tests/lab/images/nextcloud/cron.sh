#!/bin/sh
# Upstream runs busybox crond as root, which runs cron.php as www-data in every 5th minute of the clock.
set -u
echo "DOUBLE of nextcloud (cron), not the real program" >&2
php /usr/src/nextcloud/double/environment.php || exit 1
[ "$(id -u)" = 0 ] || { echo "FATAL ERROR: cron.sh must start as root" >&2; exit 1; }
[ -f /var/www/html/cron.php ] || { echo "FATAL ERROR: /var/www/html has no Nextcloud: start after the app container" >&2; exit 1; }
trap 'exit 0' TERM INT
while :; do
    sleep $((300 - $(date +%s) % 300)) & wait $!
    setpriv --reuid=33 --regid=33 --clear-groups -- php -f /var/www/html/cron.php || echo "cron.php failed with exit code $?" >&2
done
