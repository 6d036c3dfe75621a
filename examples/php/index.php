<?php
// A page that refuses sessions that ended or are held, by the keys of the denylist, for every request.
declare(strict_types=1);
require __DIR__ . '/denylist.php';

// Ends the request with 401 for what is over, 403 for what is held, and 503 for everybody while nobody can tell.
function guard(array $known): void
{
    try {
        $entry = refusal($known, moment(), moment(10));
    } catch (RuntimeException $error) {
        error_log($error->getMessage());
        refuse(503, 'nobody can tell now');
    }
    if ($entry !== null) {
        isset($entry['until']) ? refuse(403, 'held') : refuse(401, $entry['cause'], 'Bearer error="invalid_token"');
    }
}

function refuse(int $status, string $why, string $challenge = ''): never
{
    http_response_code($status);
    header('Content-Type: text/plain');
    header('Cache-Control: no-store');
    if ($challenge !== '') {
        header("WWW-Authenticate: $challenge");
    }
    exit("$why\n");
}

// Yours: who this is. Here a proxy in front has verified the token and says it in two headers, percent-encoded. Say the
// tenant also where there is only one, which is "". When they signed in is not known: times are then "" and "~".
$subject = rawurldecode($_SERVER['HTTP_X_REVOKER_SUBJECT'] ?? '');
$session = rawurldecode($_SERVER['HTTP_X_REVOKER_SESSION'] ?? '');
if ($session === '') {
    refuse(401, 'sign in', 'Bearer');
}
$known = ['tenant' => '', 'subject' => $subject, 'session_id' => $session];
guard($known + ['not_before' => '', 'not_after' => '~']);

header('Content-Type: text/plain');
echo "hello $subject\n";
