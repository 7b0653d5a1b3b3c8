<?php
// Wins over the image's own files, which come before it in the alphabet.
$CONFIG = array(
  'dbpassword' => trim(file_get_contents('/run/secrets/nextcloud_db_password')),
  'trusted_domains' => array('cloud.xn--mller-kmu-q9a.de', 'nextcloud'),
  'overwritehost' => 'cloud.xn--mller-kmu-q9a.de',
  'overwriteprotocol' => 'https',
  'overwrite.cli.url' => 'https://cloud.xn--mller-kmu-q9a.de',
  'trusted_proxies' => array('10.231.112.0/24'),
  'default_language' => 'de',
  'default_timezone' => 'Europe/Berlin',
  'default_phone_region' => 'DE',
  'maintenance_window_start' => 1,
  'loglevel' => 2,
  'log_rotate_size' => 10485760,
  // the sign-on's public name leads to Caddy's private address inside the stack
  'allow_local_remote_servers' => true,
  'user_oidc' => array('soft_auto_provision' => false, 'use_pkce' => true, 'single_logout' => true, 'login_label' => 'Müller & "Söhne" $HOME ${x} #1 | {{ 7*7 }} \'q\' \\ 🚀'),
  'skeletondirectory' => '',
  'templatedirectory' => '',
  'simpleSignUpLink.shown' => false,
  'lost_password_link' => 'disabled',
);
