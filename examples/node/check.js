// Answers the questions of tests/integration/test_examples.py, one a line.
import { createInterface } from "node:readline";
import { createClient } from "@redis/client";
import { refusal, Unknown } from "./denylist.js";

const redis = await createClient({ url: process.env.REVOKER_REDIS_URL, disableOfflineQueue: true }).connect();
for await (const line of createInterface({ input: process.stdin })) {
  const { known, now, oldest } = JSON.parse(line);
  const entry = await refusal(redis, known, now, oldest).catch((error) => {
    if (error instanceof Unknown) return "unknown";
    throw error;
  });
  console.log(JSON.stringify(entry ?? null));
}
redis.destroy();
