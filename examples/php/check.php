<?php
// Answers the questions of tests/integration/test_examples.py, one a line.
declare(strict_types=1);
require __DIR__ . '/denylist.php';

while (($line = fgets(STDIN)) !== false) {
    ['known' => $known, 'now' => $now, 'oldest' => $oldest] = json_decode($line, true, flags: JSON_THROW_ON_ERROR);
    try {
        echo json_encode(refusal($known, $now, $oldest)), "\n";
    } catch (RuntimeException) {
        echo "\"unknown\"\n";
    }
}
