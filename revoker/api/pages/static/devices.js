// The page works without this. With it a device that is signed out elsewhere is shown out at once and told why, what
// was on the page does not come back with the way back, and times are those of the person's clock.
import { dispose, onSessionEnded } from "./session.js";

const main = document.querySelector("main");
const over = document.querySelector("#over");

function showOut({ kind, reason }) {
  const told = over.content.cloneNode(true);
  const heading = told.querySelector("h1");
  if (kind === "held") heading.textContent = heading.dataset.held;
  told.querySelector(".why").textContent = reason ?? "";
  document.title = heading.textContent;
  main.replaceChildren(told);
  heading.focus();
}

// Whatever the server says, or if it says nothing: one ends where one signs in.
async function leave(event) {
  event.preventDefault();
  dispose();
  const form = event.currentTarget;
  let place = form.dataset.failed;
  try {
    const body = new URLSearchParams(new FormData(form));
    const answer = await fetch(form.action, { method: "POST", body, headers: { accept: "application/json" } });
    if (answer.ok) place = form.dataset.left;
    else if (answer.status === 401) place = form.dataset.anew;
  } catch { /* it could not be reached */ }
  main.replaceChildren();
  location.replace(place);
}

if (over) onSessionEnded(showOut);
document.querySelectorAll("form[data-left]").forEach((form) => form.addEventListener("submit", leave));
document.querySelectorAll("time").forEach((time) => {
  const told = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "long", timeStyle: "short" });
  time.title = told.format(new Date(time.dateTime));
});

// A browser may put the page aside as it is and show it again. It is hidden before, and then asked for anew.
addEventListener("pagehide", () => {
  dispose();
  document.body.hidden = true;
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
