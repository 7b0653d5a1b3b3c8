<?php
// Installation, system and app values, maintenance.
const TYPES = ['mixed' => 2, 'string' => 4, 'integer' => 8, 'float' => 16, 'boolean' => 32, 'array' => 64];
const SECRETS = '/(password|secret|passwordsalt|_key)$/';
const TABLES = [
    "CREATE TABLE oc_appconfig (appid varchar(32) NOT NULL, configkey varchar(64) NOT NULL, configvalue text,
        type int NOT NULL DEFAULT 2, lazy smallint NOT NULL DEFAULT 0, PRIMARY KEY (appid, configkey))",
    "CREATE TABLE oc_users (uid varchar(64) PRIMARY KEY, displayname text, password text, backend text NOT NULL DEFAULT 'Database',
        email text, enabled boolean NOT NULL DEFAULT true)",
    'CREATE TABLE oc_groups (gid varchar(64) PRIMARY KEY)',
    'CREATE TABLE oc_group_user (gid varchar(64) NOT NULL, uid varchar(64) NOT NULL, PRIMARY KEY (gid, uid))',
    'CREATE TABLE oc_authtoken (id serial PRIMARY KEY, uid varchar(64) NOT NULL, name text, token text)',
    'CREATE TABLE oc_user_oidc_providers (id serial PRIMARY KEY, identifier text UNIQUE, client_id text, client_secret text,
        discovery_endpoint text, end_session_endpoint text, post_logout_uri text, scope text)',
];

function occ_status(Instance $instance, array $arguments, array $options): int
{
    $status = $instance->status();
    show($status, $options);
    return !isset($options['exit-code']) ? 0 : ($status['needsDbUpgrade'] ? 2 : (int) $status['maintenance']);
}

function write_system(Instance $instance, array $changes): void
{
    $instance->config->write(array_merge($instance->config->values, $changes));
}

function install(Instance $instance, array $arguments, array $options): int
{
    if (($options['database'] ?? 'sqlite') !== 'pgsql') {
        throw new Failure('this double installs on PostgreSQL only');
    }
    if (strlen($options['admin-pass'] ?? '') < 10) {
        throw new Failure('Password needs to be at least 10 characters long.');
    }
    $values = array_merge(first_values($instance, $options), $instance->config->values);
    $database = Instance::connect($values);
    refuse_powerful_role($database);
    $instance->config->write($values);
    create_tables($database);
    prepare_data_directory($values['datadirectory']);
    fill_tables($instance, $options);
    $instance->config->write(array_merge($values, ['installed' => true]));
    echo "Nextcloud was successfully installed\n";
    return 0;
}

function first_values(Instance $instance, array $options): array
{
    return ['instanceid' => 'oc' . bin2hex(random_bytes(5)), 'passwordsalt' => bin2hex(random_bytes(15)),
        'secret' => bin2hex(random_bytes(24)), 'trusted_domains' => ['localhost'],
        'datadirectory' => $options['data-dir'] ?? $instance->root . '/data', 'dbtype' => 'pgsql', 'version' => $instance->codeVersion(),
        'overwrite.cli.url' => 'http://localhost', 'dbname' => $options['database-name'] ?? '', 'dbhost' => $options['database-host'] ?? '',
        'dbport' => '', 'dbtableprefix' => 'oc_', 'dbuser' => $options['database-user'] ?? '', 'dbpassword' => $options['database-pass'] ?? ''];
}

function refuse_powerful_role(PDO $database): void
{
    $role = $database->query('SELECT rolsuper OR rolcreaterole AS powerful FROM pg_roles WHERE rolname = current_user')->fetch();
    if ($role['powerful']) {
        throw new Failure('FATAL ERROR: the database role is superuser or has CREATEROLE: the real one would create oc_admin (trap 5)', 70);
    }
}

function create_tables(PDO $database): void
{
    $database->beginTransaction();
    foreach (TABLES as $statement) {
        $database->exec(str_replace('CREATE TABLE', 'CREATE TABLE IF NOT EXISTS', $statement));
    }
    $database->commit();
}

function prepare_data_directory(string $folder): void
{
    if (!is_dir($folder) || !is_writable($folder)) {
        throw new Failure("Cannot create or write into the data directory $folder");
    }
    chmod($folder, 0770);
    file_put_contents("$folder/.ncdata", "# Nextcloud data directory\n");
}

function fill_tables(Instance $instance, array $options): void
{
    if ($instance->rows('SELECT 1 FROM oc_users WHERE uid = ?', $options['admin-user']) !== []) {
        throw new Failure('The Login is already being used');    // what an interrupted installation left behind
    }
    $instance->rows('INSERT INTO oc_users (uid, displayname, password) VALUES (?, ?, ?)', $options['admin-user'], $options['admin-user'],
        password_hash($options['admin-pass'], PASSWORD_DEFAULT));
    $instance->rows("INSERT INTO oc_groups VALUES ('admin')");
    $instance->rows("INSERT INTO oc_group_user VALUES ('admin', ?)", $options['admin-user']);
    foreach (SHIPPED as $app => $enabled) {
        if ($enabled) {
            enable($instance, $app, $instance->versionString());
        }
    }
    $instance->setAppValue('core', 'installedat', (string) time());
}

function import_certificate(Instance $instance, array $arguments): int
{
    [$path] = $arguments;
    if ($path[0] !== '/' || !is_file($path)) {
        throw new Failure('Certificate not found, please provide a path accessible by the web server user');
    }
    $folder = $instance->config->get('datadirectory') . '/files_external';
    is_dir("$folder/uploads") || mkdir("$folder/uploads", 0750, true);
    copy($path, "$folder/uploads/" . basename($path));
    $known = array_map('file_get_contents', [...glob("$folder/uploads/*"), ...glob('/etc/ssl/certs/ca-certificates.crt')]);
    file_put_contents("$folder/rootcerts.crt", implode("\n", $known));
    return 0;
}

function upgrade(Instance $instance): int
{
    if (!$instance->status()['needsDbUpgrade']) {
        echo "No upgrade required.\n";
        return 0;
    }
    $instance->rows('SELECT 1 FROM oc_appconfig LIMIT 1');
    write_system($instance, ['version' => $instance->codeVersion()]);
    echo "Update successful\n";
    return 0;
}

function config_list(Instance $instance, array $arguments, array $options): void
{
    $private = isset($options['private']);
    $system = $instance->config->values;
    $result = ['system' => [], 'apps' => []];
    foreach ($system as $key => $value) {
        $result['system'][$key] = !$private && preg_match(SECRETS, $key) ? '***REMOVED SENSITIVE VALUE***' : $value;
    }
    foreach ($instance->rows('SELECT * FROM oc_appconfig ORDER BY appid, configkey') as $row) {
        $result['apps'][$row['appid']][$row['configkey']] = typed($row);
    }
    $options['output'] ??= 'json_pretty';
    show(match ($arguments[0] ?? 'all') {
        'all' => $result, 'system' => ['system' => $result['system']],
        default => ['apps' => [$arguments[0] => $result['apps'][$arguments[0]] ?? []]],
    }, $options);
}

function typed(array $row): mixed
{
    return match ((int) $row['type'] & 0x7e) {
        8 => (int) $row['configvalue'], 16 => (float) $row['configvalue'], 32 => in_array($row['configvalue'], ['1', 'true', 'yes', 'on'], true),
        64 => json_decode($row['configvalue'], true), default => $row['configvalue'],
    };
}

function system_get(Instance $instance, array $names, array $options): int
{
    $value = $instance->config->values;
    foreach ($names as $name) {
        if (!is_array($value) || !array_key_exists($name, $value)) {
            if (!isset($options['default-value'])) {
                return 1;
            }
            $value = $options['default-value'];
            break;
        }
        $value = $value[$name];
    }
    show($value, $options);
    return 0;
}

function cast(string $value, string $type): mixed
{
    return match ($type) {
        'string' => $value, 'null' => null,
        'integer' => is_numeric($value) ? (int) $value : throw new Failure('Non-numeric value specified'),
        'double', 'float' => is_numeric($value) ? (float) $value : throw new Failure('Non-numeric value specified'),
        'boolean' => match (strtolower($value)) { 'true' => true, 'false' => false, default => throw new Failure('Unable to parse value as boolean') },
        'json' => json_decode($value, true, 64, JSON_THROW_ON_ERROR),
        default => throw new Failure("Invalid type `$type`"),
    };
}

function system_set(Instance $instance, array $names, array $options): int
{
    $value = cast($options['value'] ?? throw new Failure('Value parameter required'), $options['type'] ?? 'string');
    $values = $instance->config->values;
    $place = &$values;
    foreach ($names as $name) {
        $place = is_array($place) ? $place : [];
        $place = &$place[$name];
    }
    $place = $value;
    $instance->config->write($values);
    new Instance($instance->root);    // the written file must still be a valid configuration
    echo 'System config value ' . implode(' => ', $names) . ' set to ' . json_encode($value) . "\n";
    return 0;
}

function system_delete(Instance $instance, array $names, array $options): int
{
    $values = $instance->config->values;
    $last = array_pop($names);
    $place = &$values;
    foreach ($names as $name) {
        if (!is_array($place[$name] ?? null)) {
            return isset($options['error-if-not-exists']) ? 1 : 0;
        }
        $place = &$place[$name];
    }
    if (!array_key_exists($last, $place)) {
        return isset($options['error-if-not-exists']) ? 1 : 0;
    }
    unset($place[$last]);
    $instance->config->write($values);
    echo "System config value $last deleted\n";
    return 0;
}

function app_get(Instance $instance, array $arguments, array $options): int
{
    $row = $instance->appValue(...$arguments);
    if ($row === null) {
        if (!isset($options['default-value'])) {
            return 1;
        }
        show($options['default-value'], $options);
        return 0;
    }
    $details = ['app' => $row['appid'], 'key' => $row['configkey'], 'value' => typed($row), 'lazy' => (bool) $row['lazy'],
        'type' => array_search((int) $row['type'] & 0x7e, TYPES, true), 'sensitive' => (bool) ((int) $row['type'] & 1)];
    show(isset($options['details']) ? $details : typed($row), $options);
    return 0;
}

function app_set(Instance $instance, array $arguments, array $options): int
{
    [$app, $key] = $arguments;
    $row = $instance->appValue($app, $key);
    $value = $options['value'] ?? ($row['configvalue'] ?? throw new Failure('Value is missing'));
    $type = isset($options['type']) ? (TYPES[$options['type']] ?? throw new Failure("Unknown type `{$options['type']}`")) : null;
    $lazy = isset($options['lazy']) ? 1 : (isset($options['no-lazy']) ? 0 : (int) ($row['lazy'] ?? 0));
    $changed = $row !== null && (($type !== null && $type !== ((int) $row['type'] & 0x7e)) || $lazy !== (int) $row['lazy']);
    if ($changed && !isset($options['n'])) {
        throw new Failure('the type or the lazy flag would change: the real one asks here (use -n)');
    }
    $type ??= $row === null ? TYPES['mixed'] : (int) $row['type'] & 0x7e;
    $value = stored($value, $type);
    if ($row !== null && $row['configvalue'] === $value && !$changed) {
        echo "Config value were not updated\n";
        return 0;
    }
    $instance->setAppValue($app, $key, $value, $type | (isset($options['sensitive']) ? 1 : 0), $lazy);
    echo "Config value '$key' for app '$app' is now set to '$value'\n";
    return 0;
}

function stored(string $value, int $type): string
{
    if ($type === 8 && !preg_match('/^-?\d+$/', $value)) {
        throw new Failure('Value is not an integer');
    }
    if ($type === 32) {
        return match (strtolower($value)) { '1', 'true', 'yes', 'on' => '1', '0', 'false', 'no', 'off' => '0',
            default => throw new Failure('Value is not a boolean, please use \'true\' or \'false\'') };
    }
    if ($type === 64 && !is_array(json_decode($value, true))) {
        throw new Failure('Value is not an array');
    }
    return $value;
}

function app_delete(Instance $instance, array $arguments, array $options): int
{
    if ($instance->appValue(...$arguments) === null) {
        return isset($options['error-if-not-exists']) ? 1 : 0;
    }
    $instance->deleteAppValue(...$arguments);
    echo "Config value {$arguments[1]} of app {$arguments[0]} deleted\n";
    return 0;
}

function background_cron(Instance $instance): void
{
    $instance->setAppValue('core', 'backgroundjobs_mode', 'cron', TYPES['string']);
    echo "Set mode for background jobs to 'cron'\n";
}

function maintenance_mode(Instance $instance, array $arguments, array $options): void
{
    $now = (bool) $instance->config->get('maintenance', false);
    $wanted = isset($options['on']) ? true : (isset($options['off']) ? false : null);
    if ($wanted === null) {
        echo 'Maintenance mode is currently ' . ($now ? 'enabled' : 'disabled') . "\n";
    } elseif ($wanted === $now) {
        echo 'Maintenance mode already ' . ($now ? 'enabled' : 'disabled') . "\n";
    } else {
        write_system($instance, ['maintenance' => $wanted]);
        echo 'Maintenance mode ' . ($wanted ? 'enabled' : 'disabled') . "\n";
    }
}

function theming(Instance $instance, array $arguments, array $options): void
{
    [$key, $value] = array_pad($arguments, 2, null);
    if ($key !== null && !in_array($key, ['name', 'url', 'imprintUrl', 'privacyUrl', 'slogan', 'primary_color', 'logo', 'background'], true)) {
        throw new Failure("The config key \"$key\" is invalid.");
    }
    if ($value !== null) {
        $instance->setAppValue('theming', $key, $value);
        echo "Updated $key to $value\n";
    }
}

function setup_checks(Instance $instance, array $arguments, array $options): int
{
    $result = fn(string $name, bool $good) => ['name' => $name, 'severity' => $good ? 'success' : 'warning', 'description' => '',
        'descriptionParameters' => null, 'linkToDoc' => null];
    $recent = time() - (int) ($instance->appValue('core', 'lastcron')['configvalue'] ?? 0) < 900;
    $config = $instance->config;
    show(['system' => [
        'OCA\\Settings\\SetupChecks\\CronErrors' => $result('Cron errors', true),
        'OCA\\Settings\\SetupChecks\\CronInfo' => $result('Cron last run', $recent),
        'OCA\\Settings\\SetupChecks\\FileLocking' => $result('Transactional file locking', $config->get('memcache.locking') !== null),
        'OCA\\Settings\\SetupChecks\\MemcacheConfigured' => $result('Memcache', $config->get('memcache.local') !== null),
        'OCA\\Settings\\SetupChecks\\MaintenanceWindowStart' => $result('Maintenance window', $config->get('maintenance_window_start') !== null),
        'OCA\\Settings\\SetupChecks\\DefaultPhoneRegionSet' => $result('Phone region', (bool) $config->get('default_phone_region')),
        'OCA\\Settings\\SetupChecks\\EmailTestSuccessful' => $result('Email', (bool) $config->get('mail_domain')),
        'OCA\\Settings\\SetupChecks\\ForwardedForHeaders' => ['severity' => 'info'] + $result('Forwarded for headers', true),
    ]], $options);
    return 1;
}
