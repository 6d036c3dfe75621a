<?php
// The reader of docs/redis.md: who may not pass, as the keys of the denylist say.
declare(strict_types=1);
require_once __DIR__ . '/redis.php';

// Times are text of 27 characters, so that comparing text will do.
function moment(int $ago = 0): string
{
    return (new DateTime("-$ago seconds", new DateTimeZone('UTC')))->format('Y-m-d\TH:i:s.u\Z');
}

// The entry that refuses `$known`, or null. `$known` has the names of docs/redis.md, and both times of the sign-in.
// Throws RuntimeException: Redis cannot tell now, answer 503.
function refusal(array $known, string $now, string $oldest): ?array
{
    $part = fn(string $name): string => $known[$name] ?? '';
    $hashes = [
        'session:' . $part('session_id'),
        'token:' . $part('token_id'),
        'subject:' . $part('tenant') . ':' . $part('subject'),
        'wide',
    ];
    [$epoch, $as_of, $values] = read('revoker:revoked:', $hashes);
    if ($epoch === null || $as_of === null || strcmp($as_of, $oldest) < 0) {
        throw new RuntimeException('The denylist is not up to date');
    }
    $lifts = $matching = [];
    foreach ($values as $value) {
        $entry = json_decode($value, true, flags: JSON_THROW_ON_ERROR);
        if (isset($entry['lift'])) {
            $lifts[$entry['lift']] = $entry['at'];
        } elseif (isset($entry['selector']) && matches($entry, $known)) {
            $matching[] = $entry;
        }
    }
    foreach ($matching as $entry) {
        if (!isset($entry['until']) && strcmp($known['not_after'], $entry['not_before'] ?? '~') <= 0) {
            return $entry;
        }
    }
    foreach ($matching as $entry) {
        $until = min($entry['until'] ?? '', $lifts[$entry['id']] ?? '~');
        if (strcmp($now, $until) < 0) {
            return $entry;
        }
    }
    return null;
}

function matches(array $entry, array $known): bool
{
    if (
        in_array($known['session_id'] ?? null, $entry['keep'] ?? [], true)
        || in_array($known['client_id'] ?? null, $entry['keep_clients'] ?? [], true)
    ) {
        return false;
    }
    foreach ($entry['selector'] as $name => $wanted) {
        if (!equals($name, $wanted, $known, $entry)) {
            return false;
        }
    }
    return true;
}

function equals(string $name, mixed $wanted, array $known, array $entry): bool
{
    $mine = $known[$name === 'ip_network' ? 'ip' : $name] ?? null;
    return match (true) {
        $name === 'everyone' => true,
        $name === 'established_after' => strcmp($known['not_before'], $wanted) > 0,
        $mine === null => $entry['named'] ?? false,
        $name === 'ip_network' => within($mine, ...explode('/', $wanted)),
        $name === 'labels' => array_diff_assoc($wanted, $mine) === [],
        default => in_array($mine, (array) $wanted, true),
    };
}

function within(string $ip, string $network, string $bits): bool
{
    [$mine, $theirs] = [inet_pton($ip), inet_pton($network)];
    $mask = str_pad(str_repeat("\xff", intdiv((int) $bits, 8)), strlen($theirs), "\0");
    if ($bits % 8) {
        $mask[intdiv((int) $bits, 8)] = chr(0xff00 >> $bits % 8 & 0xff);
    }
    return strlen($mine) === strlen($theirs) && ($mine & $mask) === ($theirs & $mask);
}
