<?php
// The router of `php -S`: the few pages of Nextcloud that a deployment, its proxy and its health checks meet.
require_once __DIR__ . '/instance.php';
require_once __DIR__ . '/oidc.php';

final class Web
{
    private string $peer;
    private bool $behindProxy;

    public function __construct(private Instance $instance)
    {
        $this->peer = $_SERVER['REMOTE_ADDR'];
        $this->behindProxy = $this->inNetworks($this->peer, $instance->config->get('trusted_proxies', []));
    }

    private function inNetworks(string $address, array $networks): bool
    {
        foreach ($networks as $network) {
            [$base, $bits] = explode('/', $network . '/');
            $left = inet_pton($base);
            $right = inet_pton($address);
            $bits = $bits === '' ? strlen($left) * 8 : (int) $bits;
            if (strlen($left) === strlen($right) && $this->prefix($left, $bits) === $this->prefix($right, $bits)) {
                return true;
            }
        }
        return false;
    }

    private function prefix(string $packed, int $bits): string
    {
        return substr(implode('', array_map(fn($byte) => sprintf('%08b', ord($byte)), str_split($packed))), 0, $bits);
    }

    private function forwarded(string $name): ?string
    {
        $value = $_SERVER['HTTP_X_FORWARDED_' . $name] ?? null;
        return $this->behindProxy && $value ? trim(explode(',', $value)[0]) : null;
    }

    public function remote(): string
    {
        return $this->forwarded('FOR') ?? $this->peer;
    }

    private function requestHost(): string
    {
        return $this->forwarded('HOST') ?? ($_SERVER['HTTP_HOST'] ?? '');
    }

    public function host(): string
    {
        return $this->instance->config->get('overwritehost') ?: $this->requestHost();
    }

    public function protocol(): string
    {
        return $this->instance->config->get('overwriteprotocol') ?: ($this->forwarded('PROTO') ?? 'http');
    }

    public function url(string $path): string
    {
        return $this->protocol() . '://' . $this->host() . $path;
    }

    private function trusted(): bool
    {
        $host = preg_replace('/:\d+$/', '', $this->requestHost());
        $trusted = array_map(fn($domain) => preg_replace('/:\d+$/', '', $domain), $this->instance->config->get('trusted_domains', []));
        return in_array($host, ['127.0.0.1', 'localhost', '[::1]'], true) || in_array($host, $trusted, true);
    }

    public function answer(string $path): void
    {
        if ($this->instance->installed() && !$this->trusted()) {
            $this->json(400, ['error' => 'Trusted domain error.', 'code' => 15]);
            return;
        }
        if ($path === '/__double/remote') {
            $this->json(200, ['remote' => $this->remote(), 'host' => $this->host(), 'protocol' => $this->protocol()]);
            return;
        }
        if ($this->instance->installed()) {
            $this->instance->checkRedis();
            $this->instance->rows('SELECT 1');
        }
        if ($path === '/status.php') {
            $this->json(200, $this->instance->status());
            return;
        }
        $this->page(preg_replace('#^/index\.php(?=/|$)#', '', $path) ?: '/');
    }

    private function page(string $path): void
    {
        if (!$this->instance->installed()) {
            $this->html(200, 'This Nextcloud is not installed.');
        } elseif ($this->instance->config->get('maintenance', false) || $this->instance->status()['needsDbUpgrade']) {
            header('Retry-After: 120');
            $this->html(503, 'Maintenance mode');
        } else {
            $this->route($path);
        }
    }

    private function route(string $path): void
    {
        if (preg_match('#^/apps/user_oidc/#', $path)) {
            (new Oidc($this->instance, $this))->answer($path);
        } elseif ($path === '/') {
            $this->redirect($this->url('/login'));
        } elseif ($path === '/login') {
            $this->login();
        } elseif (in_array($path, ['/.well-known/carddav', '/.well-known/caldav'], true)) {
            $this->redirect($this->url('/remote.php/dav/'), 301);
        } elseif ($path === '/ocs/v2.php/cloud/user' && $this->person() !== null) {
            $this->json(200, ['ocs' => ['meta' => ['status' => 'ok', 'statuscode' => 200], 'data' => $this->person()]]);
        } elseif (preg_match('#^/(remote\.php/(dav|webdav)|ocs/)#', $path)) {
            header('WWW-Authenticate: Basic realm="Nextcloud", charset="UTF-8"');
            $this->html(401, 'No public access to this resource');
        } else {
            $this->html(404, 'Page not found');
        }
    }

    /** Who signs in with a password of Nextcloud's own. */
    private function person(?string $uid = null, ?string $password = null): ?array
    {
        $uid ??= $_SERVER['PHP_AUTH_USER'] ?? '';
        $user = $this->instance->rows("SELECT * FROM oc_users WHERE uid = ? AND backend = 'Database' AND enabled", $uid)[0] ?? null;
        if ($user === null || !password_verify($password ?? ($_SERVER['PHP_AUTH_PW'] ?? ''), $user['password'])) {
            return null;
        }
        $groups = array_column($this->instance->rows('SELECT gid FROM oc_group_user WHERE uid = ?', $uid), 'gid');
        return ['id' => $uid, 'enabled' => true, 'groups' => $groups, 'email' => $user['email']];
    }

    private function signIn(): void
    {
        $known = $this->person((string) ($_POST['user'] ?? ''), (string) ($_POST['password'] ?? '')) !== null;
        $this->redirect($this->url($known ? '/apps/dashboard/' : '/login?direct=1&user=' . rawurlencode((string) ($_POST['user'] ?? ''))));
    }

    private function login(): void
    {
        if ($_SERVER['REQUEST_METHOD'] === 'POST') {
            $this->signIn();
            return;
        }
        $provider = isset($_GET['direct']) ? null : (new Oidc($this->instance, $this))->only();
        if ($provider !== null) {
            $this->redirect("/apps/user_oidc/login/$provider", 302);
            return;
        }
        $this->html(200, '<form method="post" id="login-form"><input name="user"><input name="password" type="password"></form>');
    }

    public function redirect(string $target, int $code = 303): void
    {
        http_response_code($code);
        header("Location: $target");
    }

    public function json(int $code, array $value): void
    {
        http_response_code($code);
        header('Content-Type: application/json');
        echo json_encode($value);
    }

    public function html(int $code, string $body): void
    {
        http_response_code($code);
        header('Content-Type: text/html; charset=UTF-8');
        echo "<!DOCTYPE html><title>Nextcloud (double)</title><p>$body</p>\n";
    }
}

try {
    $web = new Web(new Instance(Instance::root()));
    $web->answer(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) ?: '/');
} catch (Throwable $error) {
    error_log('500: ' . $error->getMessage());
    http_response_code(500);
    header('Content-Type: text/plain');
    echo "Internal Server Error\n";
}
return true;
