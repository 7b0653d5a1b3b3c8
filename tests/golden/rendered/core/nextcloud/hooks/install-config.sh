#!/bin/sh
# Before the installation and before every start: our settings into the folder that the image fills itself.
set -eu
php -l /kmu/zz-kmu.config.php
install -m 0640 /kmu/zz-kmu.config.php /var/www/html/config/zz-kmu.config.php
