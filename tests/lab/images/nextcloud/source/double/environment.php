<?php
// Refuses every variable that looks like the image's and that the image does not read: a typo must not be silent.
const WITH_FILE = ['NEXTCLOUD_ADMIN_USER', 'NEXTCLOUD_ADMIN_PASSWORD', 'POSTGRES_DB', 'POSTGRES_USER', 'POSTGRES_PASSWORD',
    'REDIS_HOST_PASSWORD', 'SMTP_PASSWORD'];
const PLAIN = ['NEXTCLOUD_DATA_DIR', 'NEXTCLOUD_TRUSTED_DOMAINS', 'NEXTCLOUD_UPDATE', 'NEXTCLOUD_INIT_HTACCESS', 'POSTGRES_HOST',
    'REDIS_HOST', 'REDIS_HOST_PORT', 'REDIS_HOST_USER', 'SMTP_HOST', 'SMTP_PORT', 'SMTP_SECURE', 'SMTP_AUTHTYPE', 'SMTP_NAME',
    'MAIL_FROM_ADDRESS', 'MAIL_DOMAIN', 'TRUSTED_PROXIES', 'OVERWRITEHOST', 'OVERWRITEPROTOCOL', 'OVERWRITECLIURL',
    'OVERWRITEWEBROOT', 'OVERWRITECONDADDR', 'FORWARDED_FOR_HEADERS', 'APACHE_DISABLE_REWRITE_IP', 'APACHE_BODY_LIMIT',
    'PHP_MEMORY_LIMIT', 'PHP_UPLOAD_LIMIT', 'PHP_OPCACHE_MEMORY_CONSUMPTION', 'PHP_CLI_SERVER_WORKERS'];
const PREFIXES = '/^(NEXTCLOUD|POSTGRES|REDIS|SMTP|MAIL|OVERWRITE|TRUSTED|FORWARDED|APACHE|PHP|MYSQL|SQLITE|OBJECTSTORE)_?/';

function known(): array
{
    return array_merge(PLAIN, WITH_FILE, array_map(fn($name) => $name . '_FILE', WITH_FILE));
}

function problems(array $environment): array
{
    $found = [];
    foreach (array_keys($environment) as $name) {
        if (preg_match(PREFIXES, (string) $name) && !in_array($name, known(), true)) {
            $found[] = "$name: this double knows no such variable of the image";
        }
    }
    foreach (WITH_FILE as $name) {
        if (($environment[$name] ?? '') !== '' && ($environment[$name . '_FILE'] ?? '') !== '') {
            $found[] = "both $name and {$name}_FILE are set (but are exclusive)";
        }
    }
    if (!in_array($environment['SMTP_SECURE'] ?? '', ['', 'ssl'], true)) {
        $found[] = 'SMTP_SECURE: only `ssl` has a meaning';
    }
    return $found;
}

$problems = problems(getenv());
foreach ($problems as $problem) {
    fwrite(STDERR, "FATAL ERROR: $problem\n");
}
exit($problems === [] ? 0 : 1);
