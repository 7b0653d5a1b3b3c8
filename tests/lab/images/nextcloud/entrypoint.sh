#!/bin/sh
# The order of the official entrypoint: sessions, copy of the code, install or upgrade, hooks, web server.
set -eu
html=/var/www/html
image=/usr/src/nextcloud

say() { echo "$*" >&2; }
fail() { say "FATAL ERROR: $*"; exit 1; }

as_web_user() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=33 --regid=33 --clear-groups -- "$@"
    else
        "$@"
    fi
}

version_of() { php -r "require '$1/version.php'; echo implode('.', \$OC_Version);"; }
newer() { [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$1" ]; }
is_empty() { [ -z "$(ls -A "$1" 2>/dev/null)" ]; }

file_env() {
    name=$1 file_name=$1_FILE
    eval "value=\${$name-} file=\${$file_name-}"
    if [ -n "$value" ] && [ -n "$file" ]; then fail "both $name and $file_name are set (but are exclusive)"; fi
    if [ -z "$file" ]; then return 0; fi
    [ -r "$file" ] || fail "$file_name=$file cannot be read"
    export "$name=$(cat "$file")"
    unset "$file_name"
}

run_hooks() {
    folder=/docker-entrypoint-hooks.d/$1
    [ -d "$folder" ] || return 0
    for script in $(find "$folder" -maxdepth 1 -name '*.sh' '(' -type f -o -type l ')' | sort); do
        if ! [ -x "$script" ]; then say "==> $script skipped: not executable"; continue; fi
        say "==> running $script"
        as_web_user "$script" || fail "hook $script failed with exit code $?"
    done
}

check_volume() {
    mountpoint -q $html || fail "$html is not a mount: the code would live in an anonymous volume (trap 2)"
    if [ -f $html/version.php ] || is_empty $html/config; then return 0; fi
    if ! grep -qs instanceid $html/config/config.php; then
        fail "$html/config is not empty before the first boot: the image's own *.config.php would never be copied (trap 1)"
    fi
    if ! grep -qs "'installed' => true" $html/config/config.php; then return 0; fi
    if [ -n "${NEXTCLOUD_ADMIN_USER+x}" ] || [ -n "${NEXTCLOUD_ADMIN_USER_FILE+x}" ]; then
        fail "restored config with NEXTCLOUD_ADMIN_USER set: maintenance:install is not defined there (trap 2)"
    fi
}

write_session_settings() {
    [ -n "${REDIS_HOST+x}" ] || return 0
    file_env REDIS_HOST_PASSWORD
    { echo 'session.save_handler = redis'
      echo "session.save_path = \"tcp://$REDIS_HOST:${REDIS_HOST_PORT:-6379}?auth=${REDIS_HOST_PASSWORD-}\""
    } > /usr/local/etc/php/conf.d/redis-session.ini
}

owned_copy() {
    cp -a "$1" "$2"
    if [ "$(id -u)" = 0 ]; then chown -R 33:33 "$2/$(basename "$1")"; fi
}

copy_code() {
    for entry in "$image"/*; do
        name=$(basename "$entry")
        case $name in
            version.php) ;;
            config|data|custom_apps|themes) if is_empty "$html/$name"; then rm -rf "${html:?}/$name" 2>/dev/null || true
                                                 mkdir -p "$html/$name"; own "$html/$name"
                                                 for file in "$entry"/*; do if [ -e "$file" ]; then owned_copy "$file" "$html/$name"; fi; done; fi ;;
            *) rm -rf "${html:?}/$name"; owned_copy "$entry" $html ;;
        esac
    done
    owned_copy $image/version.php $html    # before the install, as upstream: a failed install is not tried again
}
own() { if [ "$(id -u)" = 0 ]; then chown 33:33 "$1"; fi; }

install_nextcloud() {
    for name in NEXTCLOUD_ADMIN_PASSWORD NEXTCLOUD_ADMIN_USER POSTGRES_DB POSTGRES_PASSWORD POSTGRES_USER; do file_env $name; done
    if [ -z "${NEXTCLOUD_ADMIN_USER+x}" ] || [ -z "${NEXTCLOUD_ADMIN_PASSWORD+x}" ] || [ -z "${POSTGRES_DB+x}" ] \
        || [ -z "${POSTGRES_USER+x}" ] || [ -z "${POSTGRES_PASSWORD+x}" ] || [ -z "${POSTGRES_HOST+x}" ]; then
        say "Next step: Access your instance to finish the web-based installation!"
        return 0
    fi
    run_hooks pre-installation
    say "Starting nextcloud installation"
    attempt=0
    until as_web_user php $html/occ maintenance:install -n --admin-user "$NEXTCLOUD_ADMIN_USER" \
        --admin-pass "$NEXTCLOUD_ADMIN_PASSWORD" --data-dir "${NEXTCLOUD_DATA_DIR:-$html/data}" --database pgsql \
        --database-name "$POSTGRES_DB" --database-user "$POSTGRES_USER" --database-pass "$POSTGRES_PASSWORD" \
        --database-host "$POSTGRES_HOST"; do
        [ $? != 70 ] || exit 1
        attempt=$((attempt + 1))
        [ $attempt -le 10 ] || fail "Installing of nextcloud failed! It is not tried again on the next start (trap 3)"
        say "Retrying install..."
        sleep "${DOUBLE_RETRY_SECONDS:-10}"
    done
    index=1
    for domain in ${NEXTCLOUD_TRUSTED_DOMAINS-}; do
        as_web_user php $html/occ config:system:set trusted_domains $index --value="$domain"
        index=$((index + 1))
    done
    run_hooks post-installation
}

initialize() {
    installed=0.0.0.0
    if [ -f $html/version.php ]; then installed=$(version_of $html); fi
    wanted=$(version_of $image)
    if newer "$installed" "$wanted"; then fail "data is $installed, image is $wanted: downgrading is not supported"; fi
    newer "$wanted" "$installed" || return 0
    say "Initializing nextcloud $wanted ..."
    if [ "$installed" != 0.0.0.0 ] && [ "${wanted%%.*}" -gt $((${installed%%.*} + 1)) ]; then
        fail "upgrading from $installed to $wanted: it is only possible to upgrade one major version at a time"
    fi
    restored=no
    if grep -qs "'installed' => true" $html/config/config.php; then restored=yes; fi
    copy_code
    if [ "$installed" != 0.0.0.0 ]; then
        run_hooks pre-upgrade; as_web_user php $html/occ upgrade; run_hooks post-upgrade
    elif [ $restored = no ]; then
        install_nextcloud
    fi
    say "Initializing finished"
}

warn_about_old_config_files() {
    for file in $image/config/*.php; do
        target=$html/config/$(basename "$file")
        cmp -s "$file" "$target" || say "Warning: $target differs from the latest version of this image at $file"
    done
}

say "DOUBLE of nextcloud (apache image), not the real program"
php $image/double/environment.php || exit 1
case ${1-} in apache2*|php-fpm) ;; *) exec "$@" ;; esac
check_volume
write_session_settings
( flock 9; initialize ) 9> $html/nextcloud-init-sync.lock
warn_about_old_config_files
run_hooks before-starting
say "ready: serving on port 80 as uid 33"
export PHP_CLI_SERVER_WORKERS=4
# Like Apache's parent: it stops a server of another user, which needs the capability KILL.
trap 'kill $!' WINCH TERM
set -- php -S 0.0.0.0:80 -t $html $html/double/web.php
if [ "$(id -u)" = 0 ]; then set -- setpriv --reuid=33 --regid=33 --clear-groups -- "$@"; fi
"$@" &
wait $! || wait $!
