<?php
// Users, groups, app passwords.
function user_commands(): array
{
    return [
        'user:add' => [1, 1, ['password-from-env', 'generate-password', 'display-name=', '-g|group=', 'email='], add_user(...)],
        'user:info' => [1, 1, ['output='], user_info(...)],
        'user:list' => [0, 0, ['output=', '-i|info', '-l|limit=', '-o|offset=', '-d|disabled'], list_users(...)],
        'user:disable' => [1, 1, [], fn(Instance $instance, array $names) => switch_user($instance, $names[0], false)],
        'user:enable' => [1, 1, [], fn(Instance $instance, array $names) => switch_user($instance, $names[0], true)],
        'user:delete' => [1, 1, [], delete_user(...)],
        'user:resetpassword' => [1, 1, ['password-from-env', 'no-password'], reset_password(...)],
        'user:auth-tokens:add' => [1, 1, ['password-from-env', 'name='], add_token(...)],
        'user:auth-tokens:list' => [1, 1, ['output='], list_tokens(...)],
        'user:auth-tokens:delete' => [1, 2, ['last-used-before='], delete_token(...)],
        'group:add' => [1, 1, ['display-name='], add_group(...)],
        'group:delete' => [1, 1, [], delete_group(...)],
        'group:list' => [0, 0, ['output=', '-i|info', '-l|limit=', '-o|offset='], list_groups(...)],
        'group:adduser' => [2, 2, [], add_member(...)],
        'group:removeuser' => [2, 2, [], remove_member(...)],
    ];
}

function user(Instance $instance, string $uid): array
{
    return $instance->rows('SELECT * FROM oc_users WHERE uid = ?', $uid)[0] ?? throw new Failure('user not found');
}

function has_group(Instance $instance, string $gid): bool
{
    return $instance->rows('SELECT 1 FROM oc_groups WHERE gid = ?', $gid) !== [];
}

function password_from_environment(array $options): string
{
    $password = (string) (getenv('OC_PASS') ?: getenv('NC_PASS'));
    if (!isset($options['password-from-env']) || $password === '') {
        throw new Failure('--password-from-env given, but NC_PASS/OC_PASS is empty!');
    }
    if (strlen($password) < 10) {
        throw new Failure('Password needs to be at least 10 characters long.');
    }
    return password_hash($password, PASSWORD_DEFAULT);
}

function add_user(Instance $instance, array $arguments, array $options): int
{
    [$uid] = $arguments;
    if ($instance->rows('SELECT 1 FROM oc_users WHERE uid = ?', $uid) !== []) {
        throw new Failure("The account \"$uid\" already exists.");
    }
    $hash = isset($options['generate-password']) ? password_hash(bin2hex(random_bytes(16)), PASSWORD_DEFAULT) : password_from_environment($options);
    $instance->rows('INSERT INTO oc_users (uid, displayname, password, email) VALUES (?, ?, ?, ?)', $uid, $options['display-name'] ?? $uid,
        $hash, $options['email'] ?? null);
    echo "The account \"$uid\" was created successfully\n";
    if (isset($options['group'])) {
        $instance->rows('INSERT INTO oc_groups VALUES (?) ON CONFLICT DO NOTHING', $options['group']);
        add_member($instance, [$options['group'], $uid]);
    }
    return 0;
}

function groups_of(Instance $instance, string $uid): array
{
    return array_column($instance->rows('SELECT gid FROM oc_group_user WHERE uid = ? ORDER BY gid', $uid), 'gid');
}

function user_info(Instance $instance, array $arguments, array $options): int
{
    $user = user($instance, $arguments[0]);
    show(['user_id' => $user['uid'], 'display_name' => $user['displayname'], 'email' => $user['email'] ?? '', 'cloud_id' => $user['uid'],
        'enabled' => (bool) $user['enabled'], 'groups' => groups_of($instance, $user['uid']), 'quota' => 'none', 'storage' => [],
        'first_seen' => 'never', 'last_seen' => 'never', 'user_directory' => $instance->config->get('datadirectory') . '/' . $user['uid'],
        'backend' => $user['backend']], $options);
    return 0;
}

function list_users(Instance $instance, array $arguments, array $options): void
{
    $rows = $instance->rows('SELECT uid, displayname FROM oc_users' . (isset($options['disabled']) ? ' WHERE NOT enabled' : '') . ' ORDER BY uid');
    show((object) array_column($rows, 'displayname', 'uid'), $options + ['output' => 'json']);
}

function switch_user(Instance $instance, string $uid, bool $enabled): int
{
    user($instance, $uid);
    $instance->rows('UPDATE oc_users SET enabled = ? WHERE uid = ?', $enabled ? 't' : 'f', $uid);
    echo 'The specified user is ' . ($enabled ? 'enabled' : 'disabled') . "\n";
    return 0;
}

function delete_user(Instance $instance, array $arguments): int
{
    user($instance, $arguments[0]);
    $instance->rows('DELETE FROM oc_group_user WHERE uid = ?', $arguments[0]);
    $instance->rows('DELETE FROM oc_users WHERE uid = ?', $arguments[0]);
    echo "The specified user was deleted\n";
    return 0;
}

function reset_password(Instance $instance, array $arguments, array $options): int
{
    user($instance, $arguments[0]);
    $instance->rows('UPDATE oc_users SET password = ? WHERE uid = ?', password_from_environment($options), $arguments[0]);
    echo "Successfully reset password for {$arguments[0]}\n";
    return 0;
}

function add_token(Instance $instance, array $arguments): int
{
    user($instance, $arguments[0]);
    $token = bin2hex(random_bytes(36));
    $instance->rows("INSERT INTO oc_authtoken (uid, name, token) VALUES (?, 'cli', ?)", $arguments[0], hash('sha512', $token));
    echo "app password:\n$token\n";
    return 0;
}

function list_tokens(Instance $instance, array $arguments, array $options): int
{
    user($instance, $arguments[0]);
    show($instance->rows('SELECT id, name FROM oc_authtoken WHERE uid = ? ORDER BY id', $arguments[0]), $options);
    return 0;
}

function delete_token(Instance $instance, array $arguments): int
{
    user($instance, $arguments[0]);
    if (isset($arguments[1])) {
        $instance->rows('DELETE FROM oc_authtoken WHERE uid = ? AND id = ?', $arguments[0], (int) $arguments[1]);
    }
    return 0;
}

function add_group(Instance $instance, array $arguments): int
{
    if (has_group($instance, $arguments[0])) {
        throw new Failure("Group \"{$arguments[0]}\" already exists.");
    }
    $instance->rows('INSERT INTO oc_groups VALUES (?)', $arguments[0]);
    echo "Created group \"{$arguments[0]}\"\n";
    return 0;
}

function delete_group(Instance $instance, array $arguments): int
{
    if ($arguments[0] === 'admin' || !has_group($instance, $arguments[0])) {
        throw new Failure("Group \"{$arguments[0]}\" does not exist or could not be deleted.");
    }
    $instance->rows('DELETE FROM oc_group_user WHERE gid = ?', $arguments[0]);
    $instance->rows('DELETE FROM oc_groups WHERE gid = ?', $arguments[0]);
    return 0;
}

function list_groups(Instance $instance, array $arguments, array $options): void
{
    $groups = [];
    foreach ($instance->rows('SELECT gid FROM oc_groups ORDER BY gid') as $row) {
        $groups[$row['gid']] = array_column($instance->rows('SELECT uid FROM oc_group_user WHERE gid = ? ORDER BY uid', $row['gid']), 'uid');
    }
    show((object) $groups, $options + ['output' => 'json']);
}

function add_member(Instance $instance, array $arguments): int
{
    if (!has_group($instance, $arguments[0])) {
        throw new Failure('group not found');
    }
    user($instance, $arguments[1]);
    $instance->rows('INSERT INTO oc_group_user VALUES (?, ?) ON CONFLICT DO NOTHING', ...$arguments);
    return 0;
}

function remove_member(Instance $instance, array $arguments): int
{
    user($instance, $arguments[1]);
    $instance->rows('DELETE FROM oc_group_user WHERE gid = ? AND uid = ?', ...$arguments);
    return 0;
}
