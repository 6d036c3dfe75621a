// A Socket.IO server whose sockets fall when their session ends. The stream says where to look, the keys say who falls.
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@redis/client";
import { Server } from "socket.io";
import { refusal } from "./denylist.js";

const { PORT = 3000, REVOKER_REDIS_URL: url } = process.env;
const redis = createClient({ url, disableOfflineQueue: true, pingInterval: 5_000, socket: { socketTimeout: 10_000 } });
const feed = redis.duplicate(); // Its reads block.
for (const client of [redis, feed]) await client.on("error", (error) => console.error(error.message)).connect();
const http = createServer();
const io = new Server(http);

// Yours: who this is. Here a proxy in front has verified the token and says it in two headers, percent-encoded. Say the
// tenant also where there is only one, which is "". When they signed in is not known: times are then "" and "~".
function identify({ handshake: { headers } }) {
  const told = (name) => decodeURIComponent(headers[name] ?? "");
  const known = { tenant: "", subject: told("x-revoker-subject"), session_id: told("x-revoker-session") };
  if (!known.session_id) throw new Error("sign in");
  return { ...known, not_before: "", not_after: "~" };
}

const code = (entry) => (entry.until ? "held" : entry.cause);

io.use(async (socket, next) => {
  try {
    socket.data.known = identify(socket);
    const entry = await refusal(redis, socket.data.known);
    next(entry && new Error(code(entry)));
  } catch (error) {
    next(error);
  }
});

io.on("connection", async (socket) => {
  socket.join([`session:${socket.data.known.session_id}`, `subject:${socket.data.known.subject}`]);
  await look([socket.id]); // It may have ended since it was let in.
  socket.emit("hello", socket.data.known.subject);
});

// Only those fall whom the keys refuse: while Redis cannot tell, open sockets stay, and are looked at again.
async function look(rooms) {
  const cut = async (socket) => {
    const entry = await refusal(redis, socket.data.known);
    if (!entry) return;
    socket.emit("revoked", code(entry), entry.reason_user ?? {});
    socket.disconnect(true);
  };
  await Promise.allSettled((await io.local.in(rooms).fetchSockets()).map(cut));
}

// Where those are whom a record may be about. No rooms: anywhere.
function rooms({ selector, sessions = [] }) {
  const { subject, session_id = [], token_id } = selector ?? {};
  const named = [session_id, ...sessions.map((session) => session.session_id)].flat();
  return subject || token_id || session_id.length ? [`subject:${subject}`, ...named.map((id) => `session:${id}`)] : [];
}

async function follow() {
  const stream = "revoker:session-ended";
  let [{ id } = { id: "0" }] = await feed.xRevRange(stream, "+", "-", { COUNT: 1 });
  http.listen(PORT, "127.0.0.1");
  for (;;) {
    try {
      const read = await feed.xRead({ key: stream, id }, { BLOCK: 1_000 });
      for (const record of read?.[0].messages ?? []) {
        id = record.id;
        await look(rooms(JSON.parse(record.message.value).data));
      }
    } catch (error) {
      console.error(error.message);
      await sleep(1_000);
    }
  }
}

setInterval(() => look([]), 5_000); // Whatever the stream did not say: a lost connection, a Redis built anew.
follow();
