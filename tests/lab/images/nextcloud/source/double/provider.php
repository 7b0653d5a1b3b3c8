<?php
// occ user_oidc:* of user_oidc 8.11: options and exit code 255 as in lib/Command/UpsertProvider.
const PROVIDER_COLUMNS = ['clientid' => 'client_id', 'clientsecret' => 'client_secret', 'discoveryuri' => 'discovery_endpoint',
    'endsessionendpointuri' => 'end_session_endpoint', 'postlogouturi' => 'post_logout_uri', 'scope' => 'scope'];
const PROVIDER_SWITCHES = ['unique-uid' => ['uniqueUid', '1'], 'check-bearer' => ['checkBearer', '0'],
    'bearer-provisioning' => ['bearerProvisioning', '0'], 'send-id-token-hint' => ['sendIdTokenHint', '0'],
    'group-provisioning' => ['groupProvisioning', '0'], 'group-restrict-login-to-whitelist' => ['restrictLoginToGroups', '0'],
    'resolve-nested-claims' => ['nestedAndFallbackClaims', '0'], 'entraid-group-names' => ['azureGroupNames', '0']];
const PROVIDER_TEXTS = ['group-whitelist-regex' => 'groupWhitelistRegex', 'extra-claims' => 'extraClaims'];
const MAPPINGS = ['uid', 'display-name', 'email', 'quota', 'groups', 'language', 'locale', 'website', 'avatar', 'twitter', 'fediverse',
    'organisation', 'role', 'headline', 'biography', 'phone', 'gender', 'pronouns', 'birthdate', 'address', 'street_address',
    'postal_code', 'locality', 'region', 'country'];

function provider_commands(Instance $instance): array
{
    if ($instance->config->get('maintenance', false) || !in_array('user_oidc', $instance->enabledApps(), true)) {
        return [];
    }
    $values = fn(array $names) => array_map(fn($name) => "$name=", $names);
    $options = array_merge(['-c|clientid=', '-s|clientsecret=', 'clientsecret-file=', 'clientsecret-env=', '-d|discoveryuri=',
        '-e|endsessionendpointuri=', '-p|postlogouturi=', '-o|scope=', 'output='], $values(array_keys(PROVIDER_SWITCHES)),
        $values(array_keys(PROVIDER_TEXTS)), $values(array_map(fn($name) => "mapping-$name", MAPPINGS)));
    return [
        'user_oidc:provider' => [0, 1, $options, upsert_provider(...)],
        'user_oidc:providers' => [0, 0, ['output=', 'sensitive'], fn($instance, $arguments, $options) => list_providers($instance)],
        'user_oidc:provider:delete' => [1, 1, ['-f|force'], delete_provider(...)],
    ];
}

function camel(string $name): string
{
    return $name === 'phone' ? 'mappingPhonenumber' : 'mapping' . implode('', array_map('ucfirst', explode('-', str_replace('_', '', $name))));
}

function setting_names(): array
{
    $settings = [];
    foreach (PROVIDER_SWITCHES as [$name, $default]) {
        $settings[$name] = $default;
    }
    foreach (array_merge(array_values(PROVIDER_TEXTS), array_map(camel(...), MAPPINGS)) as $name) {
        $settings[$name] = '';
    }
    return $settings;
}

function described(Instance $instance, array $row): array
{
    $settings = [];
    foreach (setting_names() as $name => $default) {
        $value = $instance->appValue('user_oidc', "provider-{$row['id']}-$name")['configvalue'] ?? $default;
        $settings[$name] = in_array($default, ['0', '1'], true) ? $value === '1' : $value;
    }
    return ['id' => (int) $row['id'], 'identifier' => $row['identifier'], 'clientId' => $row['client_id'],
        'discoveryEndpoint' => $row['discovery_endpoint'], 'endSessionEndpoint' => $row['end_session_endpoint'],
        'postLogoutUri' => $row['post_logout_uri'], 'scope' => $row['scope'], 'settings' => $settings];
}

function all_providers(Instance $instance): array
{
    return array_map(fn($row) => described($instance, $row), $instance->rows('SELECT * FROM oc_user_oidc_providers ORDER BY id'));
}

function list_providers(Instance $instance): void
{
    foreach (all_providers($instance) as $provider) {
        echo json_encode($provider + ['clientSecret' => '********'], JSON_UNESCAPED_SLASHES) . "\n";
    }
}

function wanted_columns(array $options): array
{
    $columns = [];
    foreach (PROVIDER_COLUMNS as $option => $column) {
        if (isset($options[$option])) {
            $columns[$column] = $options[$option];
        }
    }
    if (isset($options['clientsecret-file'])) {
        $file = $options['clientsecret-file'];
        $columns['client_secret'] = trim((string) @file_get_contents($file)) ?: throw new Failure("Client secret file \"$file\" could not be read or is empty");
        echo "Client secret loaded from file \"$file\"\n";
    }
    if (isset($options['clientsecret-env'])) {
        $columns['client_secret'] = getenv($options['clientsecret-env']) ?: throw new Failure("Variable {$options['clientsecret-env']} is empty");
    }
    return $columns;
}

function wanted_settings(array $options): array
{
    $settings = [];
    foreach (PROVIDER_SWITCHES as $option => [$name]) {
        if (isset($options[$option])) {
            in_array($options[$option], ['0', '1'], true) || throw new Failure("--$option takes 0 or 1", 255);
            $settings[$name] = $options[$option];
        }
    }
    foreach (PROVIDER_TEXTS + array_combine(array_map(fn($name) => "mapping-$name", MAPPINGS), array_map(camel(...), MAPPINGS)) as $option => $name) {
        if (isset($options[$option])) {
            $settings[$name] = $options[$option];
        }
    }
    if (@preg_match($settings['groupWhitelistRegex'] ?? '/x/', '') === false) {
        throw new Failure('The group whitelist is no valid regular expression', 255);
    }
    return $settings;
}

function upsert_provider(Instance $instance, array $arguments, array $options): int
{
    $identifier = $arguments[0] ?? null;
    if ($identifier === null) {
        show(array_map(fn($provider) => array_diff_key($provider, ['settings' => 0]), all_providers($instance)), $options);
        return 0;
    }
    $row = $instance->rows('SELECT * FROM oc_user_oidc_providers WHERE identifier = ?', $identifier)[0] ?? null;
    [$columns, $settings] = [wanted_columns($options), wanted_settings($options)];
    $onlySecretFromEnvironment = array_keys($columns) === ['client_secret'] && isset($options['clientsecret-env']) && $settings === [];
    if ($columns === [] && $settings === [] || $row !== null && $onlySecretFromEnvironment) {
        show(described($instance, $row ?? throw new Failure('Provider not found', 255)), $options);
        return 0;
    }
    $id = $row === null ? create_provider($instance, $identifier, $columns) : update_provider($instance, $row, $columns);
    foreach ($settings as $name => $value) {
        $instance->setAppValue('user_oidc', "provider-$id-$name", $value);
    }
    return 0;
}

function create_provider(Instance $instance, string $identifier, array $columns): int
{
    foreach (['client_id', 'client_secret', 'discovery_endpoint'] as $needed) {
        ($columns[$needed] ?? '') !== '' || throw new Failure("Provider not found; to create it $needed is required", 255);
    }
    $columns += ['identifier' => $identifier, 'scope' => 'openid email profile', 'end_session_endpoint' => null, 'post_logout_uri' => null];
    $marks = implode(', ', array_fill(0, count($columns), '?'));
    $names = implode(', ', array_keys($columns));
    return (int) $instance->rows("INSERT INTO oc_user_oidc_providers ($names) VALUES ($marks) RETURNING id", ...array_values($columns))[0]['id'];
}

function update_provider(Instance $instance, array $row, array $columns): int
{
    foreach ($columns as $column => $value) {
        $instance->rows("UPDATE oc_user_oidc_providers SET $column = ? WHERE id = ?", $value, $row['id']);
    }
    return (int) $row['id'];
}

function delete_provider(Instance $instance, array $arguments, array $options): int
{
    isset($options['force']) || throw new Failure('the real one asks here (use --force)');
    $instance->rows('DELETE FROM oc_user_oidc_providers WHERE identifier = ? RETURNING id', $arguments[0])
        || throw new Failure('Provider not found', 255);
    return 0;
}
