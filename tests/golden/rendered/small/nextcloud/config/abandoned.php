<?php
// What an installation that did not reach its end left in the database goes aside, else the next one fails:
// "The Login is already being used". Nothing is removed. And nothing is touched where somebody may ever have worked:
// then the configuration was lost, not the installation.
$fail = function (string $reason): never {
    fwrite(STDERR, "kmuctl: Nextcloud's config.php says that nothing is installed, but $reason: "
        . "put config/config.php back from your backup\n");
    exit(1);
};
if (glob('/var/www/html/data/*/files')) {
    $fail('there are files of people');
}
[$host, $port] = explode(':', getenv('POSTGRES_HOST') . ':5432');
$database = new PDO("pgsql:host=$host;port=$port;dbname=" . getenv('POSTGRES_DB'), getenv('POSTGRES_USER'),
    trim(file_get_contents(getenv('POSTGRES_PASSWORD_FILE'))), [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$has = fn(string $table): bool => $database->query("SELECT to_regclass('public.$table') IS NOT NULL")->fetchColumn();
$counts = [
    'its jobs have run' => ['oc_appconfig', "appid = 'core' AND configkey = 'lastcron'"],
    'people have accounts' => ['oc_users', "uid <> 'kmu-break-glass'"],
    'people have signed in' => ['oc_user_oidc', 'true'],
];
foreach ($counts as $reason => [$table, $condition]) {
    if ($has($table) && $database->query("SELECT count(*) FROM $table WHERE $condition")->fetchColumn() > 0) {
        $fail($reason);
    }
}
if ($has('oc_appconfig')) {
    $name = 'abandoned_' . date('Ymd_His');
    $database->exec("BEGIN; ALTER SCHEMA public RENAME TO $name; CREATE SCHEMA public; COMMIT");
    echo "kmuctl: what the installation had made is in the schema $name of the database\n";
}
