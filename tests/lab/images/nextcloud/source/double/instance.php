<?php
// What occ, cron and the web pages share: the merged configuration, the database, app values and apps.
require_once __DIR__ . '/config.php';

final class Instance
{
    public const ROOT = '/var/www/html';
    public readonly SystemConfig $config;
    private ?PDO $database = null;

    public function __construct(public readonly string $root)
    {
        $this->config = new SystemConfig($root . '/config');
    }

    public static function root(): string
    {
        return getenv('DOUBLE_ROOT') ?: self::ROOT;
    }

    public function installed(): bool
    {
        return (bool) $this->config->get('installed', false);
    }

    public function codeVersion(): string
    {
        require $this->root . '/version.php';
        return implode('.', $OC_Version);
    }

    public function versionString(): string
    {
        require $this->root . '/version.php';
        return $OC_VersionString;
    }

    public function status(): array
    {
        return ['installed' => $this->installed(), 'maintenance' => (bool) $this->config->get('maintenance', false),
            'needsDbUpgrade' => $this->installed() && $this->config->get('version') !== $this->codeVersion(),
            'version' => $this->codeVersion(), 'versionstring' => $this->versionString(), 'edition' => '',
            'productname' => 'Nextcloud', 'extendedSupport' => false];
    }

    public function database(): PDO
    {
        return $this->database ??= self::connect($this->config->values);
    }

    public static function connect(array $values): PDO
    {
        [$host, $port] = explode(':', $values['dbhost'] . ':' . ($values['dbport'] ?? ''));
        $source = sprintf('pgsql:host=%s;port=%s;dbname=%s;connect_timeout=5', $host, $port ?: '5432', $values['dbname']);
        return new PDO($source, $values['dbuser'], $values['dbpassword'], [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
    }

    public function rows(string $sql, mixed ...$values): array
    {
        $statement = $this->database()->prepare($sql);
        $statement->execute($values);
        return $statement->fetchAll(PDO::FETCH_ASSOC);
    }

    public function appValue(string $app, string $key): ?array
    {
        return $this->rows('SELECT * FROM oc_appconfig WHERE appid = ? AND configkey = ?', $app, $key)[0] ?? null;
    }

    public function setAppValue(string $app, string $key, string $value, int $type = 2, int $lazy = 0): void
    {
        $this->rows('INSERT INTO oc_appconfig (appid, configkey, configvalue, type, lazy) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (appid, configkey) DO UPDATE SET configvalue = EXCLUDED.configvalue, type = EXCLUDED.type, lazy = EXCLUDED.lazy',
            $app, $key, $value, $type, $lazy);
    }

    public function deleteAppValue(string $app, string $key): void
    {
        $this->rows('DELETE FROM oc_appconfig WHERE appid = ? AND configkey = ?', $app, $key);
    }

    public function enabledApps(): array
    {
        $rows = $this->rows("SELECT appid FROM oc_appconfig WHERE configkey = 'enabled' AND configvalue = 'yes' ORDER BY appid");
        return array_column($rows, 'appid');
    }

    public function checkRedis(): void
    {
        $settings = $this->config->get('redis');
        if ($settings === null) {
            return;
        }
        $redis = new Redis();
        $redis->connect($settings['host'], (int) ($settings['port'] ?? 6379), 2.0);
        if (($settings['password'] ?? '') !== '' && !$redis->auth($settings['password'])) {
            throw new RuntimeException('Redis refuses the password');
        }
        $redis->setex('nextcloud-double', 60, (string) time());
    }
}
