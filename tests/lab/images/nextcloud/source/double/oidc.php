<?php
// user_oidc as far as a browser sees it: redirect to the provider, code exchange, one page that names the user.
final class Oidc
{
    public function __construct(private Instance $instance, private Web $web) {}

    public function providers(): array
    {
        if (!in_array('user_oidc', $this->instance->enabledApps(), true)) {
            return [];
        }
        return $this->instance->rows('SELECT * FROM oc_user_oidc_providers ORDER BY id');
    }

    public function only(): ?int
    {
        $providers = $this->providers();
        $several = ($this->instance->appValue('user_oidc', 'allow_multiple_user_backends')['configvalue'] ?? '1') !== '0';
        return !$several && count($providers) === 1 ? (int) $providers[0]['id'] : null;
    }

    public function answer(string $path): void
    {
        if (preg_match('#^/apps/user_oidc/login/(\d+)$#', $path, $match)) {
            $this->start((int) $match[1]);
        } elseif ($path === '/apps/user_oidc/code') {
            $this->finish();
        } else {
            $this->web->html(404, 'Page not found');
        }
    }

    private function provider(int $id): array
    {
        foreach ($this->providers() as $provider) {
            if ((int) $provider['id'] === $id) {
                return $provider;
            }
        }
        throw new RuntimeException("no OIDC provider $id");
    }

    private function fetch(string $url, array $form = [], array $headers = []): array
    {
        $host = (string) parse_url($url, PHP_URL_HOST);
        $private = filter_var(gethostbyname($host), FILTER_VALIDATE_IP, FILTER_FLAG_NO_PRIV_RANGE | FILTER_FLAG_NO_RES_RANGE) === false;
        if ($private && !$this->instance->config->get('allow_local_remote_servers', false)) {
            throw new RuntimeException("Host \"$host\" violates local access rules");
        }
        $request = curl_init($url);
        // its own list of authorities, not the system's
        $bundle = $this->instance->config->get('datadirectory') . '/files_external/rootcerts.crt';
        curl_setopt_array($request, (is_file($bundle) ? [CURLOPT_CAINFO => $bundle] : []) + [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 15, CURLOPT_HTTPHEADER => $headers]
            + ($form === [] ? [] : [CURLOPT_POSTFIELDS => http_build_query($form)]));
        $body = curl_exec($request);
        $code = curl_getinfo($request, CURLINFO_RESPONSE_CODE);
        if ($body === false || $code !== 200) {
            throw new RuntimeException("$url answers $code " . curl_error($request));
        }
        return json_decode($body, true, 32, JSON_THROW_ON_ERROR);
    }

    private function start(int $id): void
    {
        $provider = $this->provider($id);
        try {
            $discovery = $this->fetch($provider['discovery_endpoint']);
        } catch (RuntimeException $error) {
            error_log('user_oidc: ' . $error->getMessage());
            $this->web->html(404, 'Could not reach the OpenID Connect provider.');
            return;
        }
        session_name('oc_sessionPassphrase_double');
        session_start();
        $verifier = bin2hex(random_bytes(32));
        $_SESSION['oidc'] = ['state' => bin2hex(random_bytes(16)), 'verifier' => $verifier, 'provider' => $id];
        $challenge = rtrim(strtr(base64_encode(hash('sha256', $verifier, true)), '+/', '-_'), '=');
        $this->web->redirect($discovery['authorization_endpoint'] . '?' . http_build_query(['client_id' => $provider['client_id'],
            'response_type' => 'code', 'scope' => $provider['scope'], 'redirect_uri' => $this->web->url('/apps/user_oidc/code'),
            'state' => $_SESSION['oidc']['state'], 'code_challenge' => $challenge, 'code_challenge_method' => 'S256']));
    }

    private function finish(): void
    {
        session_name('oc_sessionPassphrase_double');
        session_start();
        $session = $_SESSION['oidc'] ?? null;
        if ($session === null || ($_GET['state'] ?? '') !== $session['state'] || !isset($_GET['code'])) {
            $this->web->html(403, 'The received state does not match the expected value.');
            return;
        }
        unset($_SESSION['oidc']);
        $provider = $this->provider($session['provider']);
        $discovery = $this->fetch($provider['discovery_endpoint']);
        $tokens = $this->fetch($discovery['token_endpoint'], ['grant_type' => 'authorization_code', 'code' => $_GET['code'],
            'client_id' => $provider['client_id'], 'client_secret' => $provider['client_secret'],
            'redirect_uri' => $this->web->url('/apps/user_oidc/code'), 'code_verifier' => $session['verifier']]);
        $claims = $this->fetch($discovery['userinfo_endpoint'], [], ['Authorization: Bearer ' . $tokens['access_token']]);
        $this->login($session['provider'], $claims);
    }

    private function login(int $id, array $claims): void
    {
        $mapping = fn(string $key, string $default) => ($this->instance->appValue('user_oidc', "provider-$id-$key")['configvalue'] ?? '')
            ?: $default;
        $uid = (string) ($claims[$mapping('mappingUid', 'sub')] ?? '');
        $user = $this->instance->rows('SELECT * FROM oc_users WHERE uid = ?', $uid)[0] ?? null;
        if ($uid === '' || ($user !== null && $user['backend'] !== 'user_oidc')) {
            $this->web->html(400, 'Access forbidden');
            return;
        }
        $this->instance->rows("INSERT INTO oc_users (uid, displayname, password, backend, enabled) VALUES (?, ?, '', 'user_oidc', true)
            ON CONFLICT (uid) DO UPDATE SET displayname = EXCLUDED.displayname", $uid, (string) ($claims['name'] ?? $uid));
        if ($user !== null && !$user['enabled']) {
            $this->web->html(403, 'Account disabled');
            return;
        }
        if ($mapping('groupProvisioning', '0') === '1') {
            $this->provisionGroups($uid, (array) ($claims[$mapping('mappingGroups', 'groups')] ?? []), $mapping('groupWhitelistRegex', '/.*/'));
        }
        $_SESSION['user'] = $uid;
        $groups = array_column($this->instance->rows('SELECT gid FROM oc_group_user WHERE uid = ? ORDER BY gid', $uid), 'gid');
        $this->web->json(200, ['double' => true, 'user' => $uid, 'claims' => array_keys($claims), 'groups' => $groups]);
    }

    /** Groups that match are taken over, both ways; others stay as they are. */
    private function provisionGroups(string $uid, array $wanted, string $regex): void
    {
        foreach ($this->instance->rows('SELECT gid FROM oc_group_user WHERE uid = ?', $uid) as ['gid' => $gid]) {
            if (preg_match($regex, $gid) && !in_array($gid, $wanted, true)) {
                $this->instance->rows('DELETE FROM oc_group_user WHERE uid = ? AND gid = ?', $uid, $gid);
            }
        }
        foreach (array_filter($wanted, fn($gid) => preg_match($regex, $gid)) as $gid) {
            $this->instance->rows('INSERT INTO oc_groups VALUES (?) ON CONFLICT DO NOTHING', $gid);
            $this->instance->rows('INSERT INTO oc_group_user VALUES (?, ?) ON CONFLICT DO NOTHING', $gid, $uid);
        }
    }
}
