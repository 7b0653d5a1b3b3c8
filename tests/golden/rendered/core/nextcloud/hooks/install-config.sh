#!/bin/sh
# Before the installation and before every start: the image's own settings, which it copies only once, and ours after
# them, into the folder that the image fills itself.
set -eu
config=/var/www/html/config
php -l /kmu/zz-kmu.config.php
for file in /usr/src/nextcloud/config/*.config.php; do
    install -m 0640 "$file" "$config/"
done
install -m 0640 /kmu/zz-kmu.config.php "$config/.zz-kmu.new"
mv "$config/.zz-kmu.new" "$config/zz-kmu.config.php"
