<?php
// The command line of occ: every command says which arguments and options it has; anything else is an error, exit 1.
final class Failure extends RuntimeException
{
    public function __construct(string $message, public readonly int $status = 1)
    {
        parent::__construct($message);
    }
}

const GLOBAL_FLAGS = ['-n' => 'n', '--no-interaction' => 'n', '--no-warnings' => 'no-warnings', '--no-ansi' => 'no-ansi', '-q' => 'q',
    '--quiet' => 'q', '-v' => 'v', '-vv' => 'v', '-vvv' => 'v', '--verbose' => 'v'];

/** Options: a name alone is a flag, `name=` takes a value; `-x|name` gives a short form. */
function option_table(array $options): array
{
    $table = [];
    foreach ($options as $option) {
        $takesValue = str_ends_with($option, '=');
        $forms = explode('|', rtrim($option, '='));
        $name = ltrim(end($forms), '-');
        foreach ($forms as $form) {
            $table[str_starts_with($form, '-') ? $form : "--$form"] = [$name, $takesValue];
        }
    }
    return $table;
}

function parse_words(array $words, array $table): array
{
    $arguments = [];
    $options = [];
    while ($words !== []) {
        $word = array_shift($words);
        if (isset(GLOBAL_FLAGS[$word])) {
            $options[GLOBAL_FLAGS[$word]] = true;
        } elseif (!str_starts_with($word, '-') || $word === '-') {
            $arguments[] = $word;
        } else {
            [$form, $value] = array_pad(explode('=', $word, 2), 2, null);
            [$name, $takesValue] = $table[$form] ?? throw new Failure("The \"$form\" option does not exist.");
            if (!$takesValue && $value !== null) {
                throw new Failure("The \"$form\" option does not accept a value.");
            }
            if ($takesValue && $value === null) {
                $value = array_shift($words) ?? throw new Failure("The \"$form\" option requires a value.");
            }
            $options[$name] = $takesValue ? $value : true;
        }
    }
    return [$arguments, $options];
}

/** Runs as the owner of config.php, as occ does since 32. */
function become_owner(string $root): void
{
    $owner = @fileowner($root . '/config/config.php') ?: (@fileowner($root . '/version.php') ?: 33);
    if (posix_geteuid() === 0 && $owner !== 0) {
        posix_setgid($owner);
        posix_setuid($owner);
    }
    if (posix_geteuid() !== $owner) {
        throw new Failure('Console has to be executed with the user that owns the file config/config.php');
    }
}

function run_console(array $words, string $root): int
{
    try {
        become_owner($root);
        $instance = new Instance($root);
        [$arguments, $options] = [[], []];
        $name = array_shift($words);
        while ($name !== null && isset(GLOBAL_FLAGS[$name])) {
            $name = array_shift($words);
        }
        $command = commands($instance)[$name] ?? throw new Failure("Command \"$name\" is not defined.");
        [$minimum, $maximum, $known, $handler] = $command;
        [$arguments, $options] = parse_words($words, option_table($known));
        if (count($arguments) < $minimum || count($arguments) > $maximum) {
            throw new Failure("$name: wrong number of arguments");
        }
        if ($instance->config->get('maintenance', false) && !isset($options['no-warnings'])) {
            fwrite(STDERR, "Nextcloud is in maintenance mode, no apps are loaded.\nCommands provided by apps are unavailable.\n");
        }
        return $handler($instance, $arguments, $options) ?? 0;
    } catch (Failure $failure) {
        echo $failure->getMessage() === '' ? '' : $failure->getMessage() . "\n";
        return $failure->status;
    } catch (Throwable $error) {
        fwrite(STDERR, 'An unhandled exception has been thrown: ' . $error->getMessage() . "\n");
        return str_starts_with($error->getMessage(), 'FATAL: Could not open') ? 0 : 1;
    }
}

function say(string $text): int
{
    echo $text;
    return 0;
}

function show(mixed $value, array $options): void
{
    $format = $options['output'] ?? 'plain';
    if (!in_array($format, ['plain', 'json', 'json_pretty'], true)) {
        throw new Failure("output format `$format` is unknown");
    }
    if ($format !== 'plain') {
        echo json_encode($value, JSON_UNESCAPED_SLASHES | ($format === 'json_pretty' ? JSON_PRETTY_PRINT : 0)) . "\n";
        return;
    }
    foreach (is_array($value) ? $value : [$value] as $key => $item) {
        $text = is_scalar($item) || $item === null ? (is_bool($item) ? var_export($item, true) : (string) $item) : json_encode($item);
        echo is_array($value) ? "  - $key: $text\n" : "$text\n";
    }
}
