<?php
// Read on every request, in the app and in the cron container.
if (getenv('REDIS_HOST')) {
    $passwordFile = getenv('REDIS_HOST_PASSWORD_FILE');
    $CONFIG = array(
        'memcache.distributed' => '\OC\Memcache\Redis',
        'memcache.locking' => '\OC\Memcache\Redis',
        'redis' => array(
            'host' => getenv('REDIS_HOST'),
            'port' => (int) (getenv('REDIS_HOST_PORT') ?: 6379),
            'password' => $passwordFile ? trim((string) file_get_contents($passwordFile)) : (string) getenv('REDIS_HOST_PASSWORD'),
        ),
    );
}
