<?php
// config.php first, then config/*.config.php in natural order; each replaces whole top-level keys; NC_* beats all.
final class ConfigError extends RuntimeException {}

final class SystemConfig
{
    private const KEYS = ['instanceid', 'passwordsalt', 'secret', 'installed', 'version', 'datadirectory', 'dbtype', 'dbname', 'dbhost',
        'dbport', 'dbuser', 'dbpassword', 'dbtableprefix', 'trusted_domains', 'trusted_proxies', 'overwritehost', 'overwriteprotocol',
        'overwritewebroot', 'overwritecondaddr', 'overwrite.cli.url', 'forwarded_for_headers', 'apps_paths', 'memcache.local',
        'memcache.distributed', 'memcache.locking', 'redis', 'default_language', 'force_language', 'default_locale', 'force_locale',
        'default_phone_region', 'default_timezone', 'logtimezone', 'loglevel', 'log_type', 'logfile', 'log_rotate_size',
        'maintenance', 'maintenance_window_start', 'mail_smtpmode', 'mail_smtphost', 'mail_smtpport', 'mail_smtpsecure',
        'mail_smtpauth', 'mail_smtpauthtype', 'mail_smtpname', 'mail_smtppassword', 'mail_smtptimeout', 'mail_smtpstreamoptions',
        'mail_from_address', 'mail_domain', 'mail_sendmailmode', 'mail_template_class', 'allow_local_remote_servers', 'user_oidc',
        'skeletondirectory', 'templatedirectory', 'simpleSignUpLink.shown', 'lost_password_link', 'has_internet_connection',
        'hide_login_form', 'token_auth_enforced', 'auth.bruteforce.protection.enabled', 'ratelimit.protection.enabled',
        'session_lifetime', 'session_keepalive', 'remember_login_cookie_lifetime', 'auto_logout', 'htaccess.RewriteBase',
        'htaccess.IgnoreFrontController', 'upgrade.disable-web', 'updatechecker', 'updater.release.channel', 'appstoreenabled',
        'defaultapp', 'knowledgebaseenabled', 'enable_previews', 'preview_max_x', 'preview_max_y', 'preview_max_memory',
        'preview_max_filesize_image', 'jpeg_quality', 'enabledPreviewProviders', 'preview_imaginary_url', 'preview_imaginary_key',
        'trashbin_retention_obligation', 'versions_retention_obligation', 'activity_expire_days', 'filelocking.enabled',
        'files_external_allow_create_new_local', 'check_data_directory_permissions', 'data-fingerprint', 'app_install_overwrite',
        'profile.enabled', 'share_folder', 'sharing.managerestricted', 'localstorage.allowsymlinks', 'theme', 'debug', 'onlyoffice',
        'csrf.disabled', 'cors.allowed-domains', 'quota_include_external_storage', 'filesystem_check_changes', 'bulkupload.enabled',
        'allow_user_to_change_display_name', 'allow_user_to_change_email', 'proxy', 'proxyexclude', 'serverid', 'logo_url'];
    private const OIDC_KEYS = ['auto_provision', 'soft_auto_provision', 'disable_account_creation', 'single_logout', 'use_pkce',
        'default_token_endpoint_auth_method', 'login_label', 'prompt', 'enable_default_claims', 'send_userinfo_claims',
        'enrich_login_id_token_with_userinfo', 'userinfo_bearer_validation', 'selfencoded_bearer_validation',
        'oidc_provider_bearer_validation', 'login_validation_audience_check', 'login_validation_azp_check',
        'selfencoded_bearer_validation_audience_check', 'validate_jwk_strength', 'user_search_match_emails',
        'httpclient.allowselfsigned'];

    public array $values = [];

    public function __construct(public readonly string $folder)
    {
        foreach ($this->files() as $file) {
            $this->values = array_merge($this->values, self::read($file));
        }
        foreach (getenv() as $name => $value) {
            if (str_starts_with($name, 'NC_') && $name !== 'NC_PASS') {
                $this->values[substr($name, 3)] = $value;
            }
        }
        self::check($this->values);
    }

    private function files(): array
    {
        $extra = glob($this->folder . '/*.config.php') ?: [];
        natsort($extra);
        $main = $this->folder . '/config.php';
        return array_merge(file_exists($main) ? [$main] : [], array_values($extra));
    }

    private static function read(string $file): array
    {
        if (!is_readable($file)) {
            throw new ConfigError("FATAL: Could not open the config file $file");
        }
        $CONFIG = [];
        try {
            ob_start();
            include $file;
        } catch (Throwable $error) {
            throw new ConfigError("$file: " . $error->getMessage());
        } finally {
            $printed = ob_get_clean();
        }
        if ($printed !== '' && $printed !== false) {
            throw new ConfigError("$file prints text: " . substr($printed, 0, 200));
        }
        return $CONFIG;
    }

    private static function check(array $values): void
    {
        foreach (array_keys($values) as $key) {
            if ($key === 'config_is_read_only') {
                throw new ConfigError('config_is_read_only makes every system write fail: do not use it');
            }
            if (!in_array($key, self::KEYS, true)) {
                throw new ConfigError("unknown system config key `$key` (the real one ignores it; this double does not)");
            }
        }
        foreach (array_keys($values['user_oidc'] ?? []) as $key) {
            if (!in_array($key, self::OIDC_KEYS, true)) {
                throw new ConfigError("unknown key `user_oidc.$key`");
            }
        }
        self::checkValues($values);
    }

    private static function checkValues(array $values): void
    {
        if (!in_array($values['overwriteprotocol'] ?? '', ['', 'http', 'https'], true)) {
            throw new ConfigError('overwriteprotocol must be http or https');
        }
        if (!in_array($values['mail_smtpsecure'] ?? '', ['', 'ssl'], true)) {
            throw new ConfigError('mail_smtpsecure: only `ssl` has a meaning');
        }
        foreach ($values['trusted_proxies'] ?? [] as $network) {
            if (!filter_var(explode('/', $network)[0], FILTER_VALIDATE_IP)) {
                throw new ConfigError("trusted_proxies: `$network` is no address or network");
            }
        }
        foreach (['trusted_domains', 'trusted_proxies', 'apps_paths', 'user_oidc', 'redis'] as $key) {
            if (isset($values[$key]) && !is_array($values[$key])) {
                throw new ConfigError("$key must be an array");
            }
        }
    }

    public function get(string $key, mixed $default = null): mixed
    {
        return $this->values[$key] ?? $default;
    }

    public function write(array $values): void
    {
        // Any write dumps the whole merged array, secrets of extra files included, as the real one does.
        $text = "<?php\n\$CONFIG = " . var_export($values, true) . ";\n";
        $file = $this->folder . '/config.php';
        if (file_exists($file) && file_get_contents($file) === $text) {
            return;
        }
        $temporary = $file . '.new';
        if (@file_put_contents($temporary, $text) === false) {
            throw new ConfigError("Cannot write into {$this->folder}");
        }
        chmod($temporary, 0640);
        rename($temporary, $file);
        $this->values = $values;
    }
}
