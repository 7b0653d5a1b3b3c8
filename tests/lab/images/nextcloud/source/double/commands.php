<?php
// name => [fewest arguments, most arguments, options, handler]
require_once __DIR__ . '/system.php';
require_once __DIR__ . '/apps.php';
require_once __DIR__ . '/users.php';
require_once __DIR__ . '/provider.php';

function commands(Instance $instance): array
{
    $always = ['status' => [0, 0, ['output=', '-e|exit-code'], occ_status(...)], '_double' => [0, 0, [], fn() => 0]];
    if (!$instance->installed()) {
        return $always + ['maintenance:install' => [0, 0, ['database=', 'database-name=', 'database-user=', 'database-pass=',
            'database-host=', 'database-port=', 'admin-user=', 'admin-pass=', 'admin-email=', 'data-dir='], install(...)]];
    }
    return $always + system_commands() + app_commands() + user_commands() + provider_commands($instance);
}

function system_commands(): array
{
    $missing = fn(Instance $instance, array $arguments, array $options) => say(isset($options['dry-run']) ? '' : "Done.\n");
    $done = fn() => say("Done.\n");
    return [
        'config:list' => [0, 1, ['output=', 'private'], config_list(...)],
        'config:system:get' => [1, 9, ['output=', 'default-value='], system_get(...)],
        'config:system:set' => [1, 9, ['value=', 'type=', 'output=', 'update-only'], system_set(...)],
        'config:system:delete' => [1, 9, ['error-if-not-exists', 'output='], system_delete(...)],
        'config:app:get' => [2, 2, ['output=', 'default-value=', 'details'], app_get(...)],
        'config:app:set' => [2, 2, ['value=', 'type=', 'lazy', 'no-lazy', 'sensitive', 'no-sensitive', 'output=', 'update-only'], app_set(...)],
        'config:app:delete' => [2, 2, ['error-if-not-exists', 'output='], app_delete(...)],
        'background:cron' => [0, 0, [], background_cron(...)],
        'maintenance:mode' => [0, 0, ['on', 'off', 'output='], maintenance_mode(...)],
        'maintenance:update:htaccess' => [0, 0, [], fn() => say(".htaccess has been updated\n")],
        'maintenance:data-fingerprint' => [0, 0, [], fn(Instance $instance) => write_system($instance, ['data-fingerprint' => md5((string) microtime())])],
        'maintenance:repair' => [0, 0, ['include-expensive'], $done],
        'upgrade' => [0, 0, [], upgrade(...)],
        'db:add-missing-indices' => [0, 0, ['dry-run', 'output='], $missing],
        'db:add-missing-columns' => [0, 0, ['dry-run', 'output='], $missing],
        'db:add-missing-primary-keys' => [0, 0, ['dry-run', 'output='], $missing],
        'files:scan' => [0, 9, ['all', 'path='], $done],
        'files:scan-app-data' => [0, 1, [], $done],
        'setupchecks' => [0, 0, ['output='], setup_checks(...)],
        'security:certificates:import' => [1, 1, [], import_certificate(...)],
        'theming:config' => [0, 2, ['-r|reset'], theming(...)],
        'security:bruteforce:reset' => [1, 1, [], fn() => 0],
        'security:bruteforce:attempts' => [1, 2, ['output='], fn($instance, $arguments, $options)
            => show(['bypass-listed' => false, 'attempts' => 0, 'delay' => 0], $options)],
    ];
}
