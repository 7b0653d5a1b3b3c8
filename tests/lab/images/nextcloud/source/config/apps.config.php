<?php
$CONFIG = array('apps_paths' => array(
    array('path' => '/var/www/html/apps', 'url' => '/apps', 'writable' => false),
    array('path' => '/var/www/html/custom_apps', 'url' => '/custom_apps', 'writable' => true),
));
