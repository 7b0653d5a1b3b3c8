<?php
// One run of the background jobs: here only the mark that setup checks and health checks read.
require __DIR__ . '/double/instance.php';
try {
    $instance = new Instance(__DIR__);
    if (!$instance->installed() || $instance->config->get('maintenance', false)) {
        exit(0);
    }
    $instance->checkRedis();
    $instance->setAppValue('core', 'lastcron', (string) time(), 8);
    echo 'cron.php: core lastcron = ' . time() . "\n";
} catch (Throwable $error) {
    fwrite(STDERR, 'cron.php: ' . $error->getMessage() . "\n");
    exit(1);
}
