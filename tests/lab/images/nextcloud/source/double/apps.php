<?php
// Apps: what is shipped, and a small "app store" with the newest major each app knows. DOUBLE_APPSTORE=unreachable closes it.
const SHIPPED = ['activity' => true, 'app_api' => true, 'circles' => true, 'dav' => true, 'federation' => true, 'files' => true,
    'files_pdfviewer' => true, 'files_sharing' => true, 'files_trashbin' => true, 'files_versions' => true, 'firstrunwizard' => true,
    'logreader' => true, 'notifications' => true, 'password_policy' => true, 'photos' => true, 'privacy' => true,
    'provisioning_api' => true, 'serverinfo' => true, 'settings' => true, 'sharebymail' => true, 'support' => true,
    'survey_client' => true, 'text' => true, 'theming' => true, 'updatenotification' => true, 'user_status' => true, 'viewer' => true,
    'weather_status' => true, 'admin_audit' => false, 'encryption' => false, 'files_external' => false, 'suspicious_login' => false,
    'twofactor_totp' => false, 'user_ldap' => false];
const STORE = ['calendar' => ['6.6.0', 35], 'contacts' => ['8.7.6', 34], 'mail' => ['5.11.2', 35], 'deck' => ['1.18.3', 34],
    'groupfolders' => ['22.0.6', 34], 'collectives' => ['4.5.0', 35], 'tables' => ['2.2.2', 35], 'whiteboard' => ['1.5.9', 34],
    'richdocuments' => ['11.1.0', 34], 'richdocumentscode' => ['26.4.104', 35], 'drawio' => ['4.3.9', 34],
    'files_accesscontrol' => ['5.0.0', 34], 'files_retention' => ['5.0.0', 34], 'user_oidc' => ['8.11.0', 35],
    'notify_push' => ['1.4.0', 35], 'jitsi' => ['0.19.0', 31], 'external' => ['8.0.0', 34]];

function app_commands(): array
{
    return [
        'app:list' => [0, 1, ['output=', 'enabled', 'disabled', 'shipped='], list_apps(...)],
        'app:install' => [1, 1, ['keep-disabled', '-f|force', 'allow-unstable'], install_app(...)],
        'app:enable' => [1, 99, ['-f|force', '-g|groups='], enable_apps(...)],
        'app:disable' => [1, 99, [], disable_apps(...)],
        'app:remove' => [1, 1, ['keep-data'], remove_app(...)],
        'app:getpath' => [1, 1, ['output='], app_path(...)],
        'app:update' => [0, 1, ['all', 'showonly', 'allow-unstable'], fn() => say("All apps are up-to-date or no updates could be found\n")],
    ];
}

function enable(Instance $instance, string $app, string $version): void
{
    $instance->setAppValue($app, 'enabled', 'yes');
    $instance->setAppValue($app, 'installed_version', $version);
}

function unpacked(Instance $instance, string $app): bool
{
    return is_file($instance->root . "/custom_apps/$app/appinfo/info.xml");
}

function installed_apps(Instance $instance): array
{
    $folders = array_filter(array_map('basename', glob($instance->root . '/custom_apps/*', GLOB_ONLYDIR) ?: []), fn($app) => unpacked($instance, $app));
    return array_merge(array_keys(SHIPPED), $folders);
}

function app_version(Instance $instance, string $app): string
{
    $file = $instance->root . "/custom_apps/$app/appinfo/info.xml";
    return preg_match('#<version>([^<]+)</version>#', (string) @file_get_contents($file), $match) ? $match[1] : $instance->versionString();
}

function list_apps(Instance $instance, array $arguments, array $options): void
{
    if (!in_array($options['shipped'] ?? 'true', ['true', 'false'], true)) {
        throw new Failure('--shipped takes true or false');
    }
    $enabled = $instance->enabledApps();
    $result = ['enabled' => [], 'disabled' => []];
    foreach (installed_apps($instance) as $app) {
        if (isset($options['shipped']) && isset(SHIPPED[$app]) !== ($options['shipped'] === 'true')) {
            continue;
        }
        $result[in_array($app, $enabled, true) ? 'enabled' : 'disabled'][$app] = app_version($instance, $app);
    }
    if (isset($options['enabled'])) { unset($result['disabled']); }
    if (isset($options['disabled'])) { unset($result['enabled']); }
    show(array_map(fn($apps) => (object) $apps, $result), $options);
}

function store_answers(Instance $instance): bool
{
    $failed = (int) ($instance->appValue('settings', 'appstore-fetcher-lastFailure')['configvalue'] ?? 0);
    if (time() - $failed < 300) {
        return false;
    }
    if (getenv('DOUBLE_APPSTORE') === 'unreachable' || $instance->config->get('has_internet_connection', true) === false
        || $instance->config->get('appstoreenabled', true) === false) {
        $instance->setAppValue('settings', 'appstore-fetcher-lastFailure', (string) time());
        return false;
    }
    return true;
}

function download(Instance $instance, string $app, bool $force, string $prefix): void
{
    if (!isset(STORE[$app]) || !store_answers($instance)) {
        throw new Failure("{$prefix}Could not download app $app, it was not found on the appstore");
    }
    [$version, $newest] = STORE[$app];
    if ($newest < (int) $instance->versionString() && !$force) {
        throw new Failure("App \"$app\" cannot be installed because it is not compatible with this version of the server.");
    }
    $writable = array_column(array_filter($instance->config->get('apps_paths', []), fn($path) => $path['writable']), 'path');
    if ($writable === []) {
        throw new Failure('No app directories are writable: apps.config.php of the image is missing (trap 1)');
    }
    $folder = $instance->root . "/custom_apps/$app/appinfo";
    mkdir($folder, 0750, true);
    file_put_contents("$folder/info.xml", "<info><id>$app</id><version>$version</version></info>\n");
}

function install_app(Instance $instance, array $arguments, array $options): int
{
    $app = $arguments[0];
    if (in_array($app, installed_apps($instance), true)) {
        throw new Failure("$app already installed");
    }
    download($instance, $app, isset($options['force']), 'Error: ');
    echo "$app " . app_version($instance, $app) . " installed\n";
    if (!isset($options['keep-disabled'])) {
        enable($instance, $app, app_version($instance, $app));
        echo "$app enabled\n";
    }
    return 0;
}

function enable_apps(Instance $instance, array $apps, array $options): int
{
    $result = 0;
    foreach ($apps as $app) {
        try {
            if (in_array($app, $instance->enabledApps(), true)) {
                echo "$app already enabled\n";
                continue;
            }
            if (!in_array($app, installed_apps($instance), true)) {
                download($instance, $app, isset($options['force']), '');
            }
            enable($instance, $app, app_version($instance, $app));
            echo "$app " . app_version($instance, $app) . " enabled\n";
        } catch (Failure $failure) {
            echo $failure->getMessage() . "\n";
            $result = 1;
        }
    }
    return $result;
}

function disable_apps(Instance $instance, array $apps): int
{
    foreach ($apps as $app) {
        if (!in_array($app, $instance->enabledApps(), true)) {
            echo "No such app enabled: $app\n";
            continue;
        }
        $instance->setAppValue($app, 'enabled', 'no');
        echo "$app disabled\n";
    }
    return 0;
}

function remove_app(Instance $instance, array $arguments): int
{
    [$app] = $arguments;
    if (!in_array($app, $instance->enabledApps(), true) || isset(SHIPPED[$app])) {
        throw new Failure("$app is not enabled or cannot be removed");
    }
    unlink($instance->root . "/custom_apps/$app/appinfo/info.xml");
    $instance->setAppValue($app, 'enabled', 'no');
    return 0;
}

function app_path(Instance $instance, array $arguments): int
{
    if (!in_array($arguments[0], installed_apps($instance), true)) {
        return 1;
    }
    echo $instance->root . (isset(SHIPPED[$arguments[0]]) ? '/apps/' : '/custom_apps/') . $arguments[0] . "\n";
    return 0;
}
