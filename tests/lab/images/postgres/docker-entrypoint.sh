#!/usr/bin/env bash
# Starts PostgreSQL the way the official image does, for the settings that kmuctl uses.
set -euo pipefail

fail() { printf 'Error: %s\n' "$*" >&2; exit 1; }

# The value of NAME, or the content of the file that NAME_FILE names; both at once is a mistake.
from_environment() {
    local name=$1 default=${2:-} file_name=$1_FILE
    [ -z "${!name:-}" ] || [ -z "${!file_name:-}" ] || fail "both $name and $file_name are set (but are exclusive)"
    if [ -n "${!file_name:-}" ]; then cat "${!file_name}"; else printf '%s' "${!name:-$default}"; fi
}

create_directories() {
    mkdir -p "$PGDATA"
    chmod 00700 "$PGDATA" || true
    mkdir -p /var/run/postgresql || true
}

become_postgres() {
    find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
}

initialise() {
    [ -n "$password" ] || fail "Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser."
    eval 'initdb --username="$user" --pwfile=<(printf "%s\n" "$password") '"${POSTGRES_INITDB_ARGS:-}"
    printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
    # Clients must not meet the server before it is complete: the first start listens on its socket only.
    pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
    if [ "$database" != postgres ]; then
        psql_as_owner --dbname postgres --set db="$database" <<<'CREATE DATABASE :"db";'
    fi
    run_init_files
    pg_ctl -D "$PGDATA" -m fast -w stop
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

psql_as_owner() { PGPASSWORD=$password psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" --no-password "$@"; }

run_init_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sql) psql_as_owner --dbname "$database" --file "$file" ;;
            *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
        esac
    done
}

[ "${1:0:1}" != - ] || set -- postgres "$@"
if [ "$1" = postgres ]; then
    create_directories
    [ "$(id -u)" != 0 ] || become_postgres "$@"
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        user=$(from_environment POSTGRES_USER postgres)
        password=$(from_environment POSTGRES_PASSWORD)
        database=$(from_environment POSTGRES_DB "$user")
        export POSTGRES_USER=$user POSTGRES_DB=$database
        initialise
    else
        printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
    fi
    unset POSTGRES_PASSWORD
fi
exec "$@"
