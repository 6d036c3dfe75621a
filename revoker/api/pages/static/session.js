// Tells a page that its session is over, and why: onSessionEnded(({kind, cause, reason}) => …).dispose()
// kind is "ended" or "held". A listener is called once. dispose() stops everything.
const home = new URL("../v1/me/", import.meta.url);
const listeners = new Set();
let source, timer, over, pause;

export function onSessionEnded(listener) {
  listeners.add(listener);
  if (over) queueMicrotask(tell);
  else if (!source && !timer) follow();
  return { dispose: () => listeners.delete(listener) && !listeners.size && stop() };
}

export function dispose() {
  listeners.clear();
  stop();
}

function stop() {
  source?.close();
  clearTimeout(timer);
  source = timer = undefined;
}

function follow() {
  stop();
  source = new EventSource(new URL("notifications", home), { withCredentials: true });
  source.onopen = () => { pause = 0; };
  source.onerror = again;
  source.addEventListener("session-ended", (event) => end(JSON.parse(event.data)));
}

// A browser does not say why a stream failed. So ask, after a while that differs from page to page.
function again() {
  stop();
  pause = Math.min((pause || 500) * 2, 30000);
  timer = setTimeout(ask, pause * (0.5 + Math.random()));
}

async function ask() {
  const mine = timer;
  try {
    const answer = await fetch(new URL("session", home), { credentials: "include", cache: "no-store" });
    if (mine !== timer) return;
    if (answer.ok) return follow();
    const { cause, detail: reason } = await answer.json().catch(() => ({}));
    if (mine !== timer) return;
    if (answer.status === 401) return end({ kind: "ended", cause: cause ?? "signed-out", reason });
    if (cause === "held") return end({ kind: "held", cause, reason });
  } catch { /* not reachable: later */ }
  if (mine === timer) again();
}

function end(told) {
  stop();
  over = told;
  tell();
}

function tell() {
  const waiting = [...listeners];
  listeners.clear();
  waiting.forEach((listener) => listener(over));
}
