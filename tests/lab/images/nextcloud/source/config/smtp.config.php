<?php
if (getenv('SMTP_HOST') && getenv('MAIL_FROM_ADDRESS') && getenv('MAIL_DOMAIN')) {
    $passwordFile = getenv('SMTP_PASSWORD_FILE');
    $password = $passwordFile ? trim((string) file_get_contents($passwordFile)) : (string) getenv('SMTP_PASSWORD');
    $CONFIG = array(
        'mail_smtpmode' => 'smtp',
        'mail_smtphost' => getenv('SMTP_HOST'),
        'mail_smtpport' => (int) (getenv('SMTP_PORT') ?: (getenv('SMTP_SECURE') ? 465 : 25)),
        'mail_smtpsecure' => getenv('SMTP_SECURE') ?: '',
        'mail_smtpauth' => getenv('SMTP_NAME') && $password !== '',
        'mail_smtpauthtype' => getenv('SMTP_AUTHTYPE') ?: 'LOGIN',
        'mail_smtpname' => getenv('SMTP_NAME') ?: '',
        'mail_smtppassword' => $password,
        'mail_from_address' => getenv('MAIL_FROM_ADDRESS'),
        'mail_domain' => getenv('MAIL_DOMAIN'),
    );
}
