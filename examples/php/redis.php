<?php
// As much of Redis as the reader needs. Where the extension phpredis is at hand, it does the same.
declare(strict_types=1);

// What the keys hold at one moment: the epoch, as-of, and all values of the hashes.
function read(string $prefix, array $hashes): array
{
    $reads = array_map(fn($hash) => ['HVALS', $prefix . $hash], $hashes);
    $found = redis([['MULTI'], ['GET', $prefix . 'epoch'], ['GET', $prefix . 'as-of'], ...$reads, ['EXEC']]);
    return [array_shift($found), array_shift($found), array_merge(...$found)];
}

function redis(array $commands): mixed
{
    $server = parse_url(getenv('REVOKER_REDIS_URL') ?: 'redis://127.0.0.1:6379');
    if (isset($server['pass'])) {
        $user = rawurldecode($server['user'] ?? '') ?: 'default';
        array_unshift($commands, ['AUTH', $user, rawurldecode($server['pass'])]);
    }
    $socket = @fsockopen($server['host'], $server['port'] ?? 6379, $code, $why, 1.0);
    if ($socket === false) {
        throw new RuntimeException("Redis does not answer: $why");
    }
    stream_set_timeout($socket, 1);
    $text = fn(string $word) => '$' . strlen($word) . "\r\n$word\r\n";
    foreach ($commands as $words) {
        fwrite($socket, '*' . count($words) . "\r\n" . implode(array_map($text, $words)));
    }
    foreach ($commands as $_) {
        $answer = reply($socket);
    }
    return $answer;
}

function reply(mixed $socket): mixed
{
    $line = fgets($socket) ?: throw new RuntimeException('Redis does not answer');
    $rest = substr($line, 1, -2);
    return match ($line[0]) {
        '-' => throw new RuntimeException($rest),
        '$' => $rest === '-1' ? null : substr(stream_get_contents($socket, (int) $rest + 2), 0, -2),
        '*' => array_map(fn() => reply($socket), array_fill(0, (int) $rest, null)),
        default => $rest,
    };
}
