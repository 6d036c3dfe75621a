// Opens a WebSocket for each device and shows what becomes of it; sends what is pressed. What the sockets cannot tell
// (who has signed in, how long it took, how far a revocation has come) comes through /watch.
"use strict";

const ENDED = 4401;
const AGAIN_MS = 1000;
const sockets = new Map();
const closed = new Map();
const pressed = new Map();
let state = null;
let reachable = true;

const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function fill(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function connect(path, protocols) {
  return new WebSocket(`ws://${location.host}${path}`, protocols);
}

// Devices

function openSocket(device) {
  const socket = connect("/device", ["demo", device.token]);
  sockets.set(device.id, socket);
  socket.onopen = show;
  socket.onclose = (event) => {
    if (event.code === ENDED) {
      closed.set(device.id, event);
    } else {
      setTimeout(() => { sockets.delete(device.id); show(); }, AGAIN_MS);
    }
    show();
  };
}

function shut(id) {
  const socket = sockets.get(id);
  socket.onopen = socket.onclose = null;
  socket.close();
  sockets.delete(id);
}

function stateOf(device) {
  if (device.ending || closed.has(device.id)) return "ended";
  const socket = sockets.get(device.id);
  return socket && socket.readyState === WebSocket.OPEN ? "live" : "connecting";
}

const WORDS = { live: "live", ended: "ended", connecting: "connecting" };

function showDevice(card, device) {
  const is = stateOf(device);
  const told = device.ending;
  const frame = closed.get(device.id);
  card.dataset.state = is;
  find("input", card).disabled = is === "ended";
  fill(find(".name", card), device.name);
  fill(find(".since", card), device.since);
  fill(find(".state", card), WORDS[is]);
  find(".ending", card).hidden = is !== "ended";
  fill(find(".text", card), told ? told.text : "");
  fill(find(".code", card), String(frame?.code ?? told?.code ?? ""));
  fill(find(".cause", card), frame?.reason || told?.cause || "");
  fill(find(".took", card), told && told.milliseconds !== null ? `${told.milliseconds} ms` : "");
}

function newCard(device) {
  const card = find("#card").content.firstElementChild.cloneNode(true);
  card.dataset.session = device.id;
  find("input", card).value = device.id;
  find("use", card).setAttribute("href", `/static/icons.svg#${device.kind}`);
  fill(find(".word", card), device.word);
  return card;
}

// People

function showPerson(person) {
  const form = find(`form[data-subject="${CSS.escape(person.subject)}"]`);
  const cards = find(".cards", form);
  const known = new Map(all(".card", cards).map((card) => [card.dataset.session, card]));
  let before = find("legend", cards);
  for (const device of person.devices) {
    const card = known.get(device.id) ?? newCard(device);
    known.delete(device.id);
    if (before.nextElementSibling !== card) before.after(card);
    before = card;
    if (!device.ending && !closed.has(device.id) && !sockets.has(device.id) && reachable) openSocket(device);
    showDevice(card, device);
  }
  for (const [id, card] of known) {
    if (sockets.has(id)) shut(id);
    card.remove();
  }
  const inUse = person.devices.filter((device) => stateOf(device) !== "ended");
  choose(cards, inUse);
  showOutcome(person, form);
  for (const button of all("button", form)) {
    const isSignIn = button.value === "sign-in";
    button.disabled = !reachable || (isSignIn ? inUse.length === person.devices.length : inUse.length === 0);
  }
}

function choose(cards, inUse) {
  const chosen = find("input:checked", cards);
  if (chosen && !chosen.disabled) return;
  if (chosen) chosen.checked = false;
  const next = inUse.at(-1);
  if (next) find(`[data-session="${CSS.escape(next.id)}"] input`, cards).checked = true;
}

// In words, also for those who do not see the cards.
function showOutcome(person, form) {
  const before = pressed.get(person.subject) ?? [];
  const words = (is) => person.devices.filter((one) => before.includes(one.id) && stateOf(one) === is)
    .map((one) => one.word).join(", ") || "none";
  if (words("ended") !== "none") fill(find(".answer", form), `Ended: ${words("ended")}. Live: ${words("live")}.`);
}

async function press(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const answer = find(".answer", form);
  pressed.set(form.dataset.subject, all('.card[data-state="live"]', form).map((card) => card.dataset.session));
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  fill(answer, "");
  try {
    const response = await fetch(form.action, { method: "POST", body: fields, headers: { "x-quiet": "1" } });
    if (!response.ok) fill(answer, await response.text());
  } catch {
    fill(answer, "The demo could not be reached");
  }
}

// How far it has come

function showEntry(item, one) {
  item.dataset.revocation = one.id;
  item.dataset.enforced = one.enforced ? "yes" : "no";
  fill(find(".cause", item), one.cause);
  fill(find(".whose", item), one.subject);
  fill(find(".id", item), one.id);
  const steps = find(".steps", item);
  if (all("li", steps).map((step) => step.textContent).join() !== one.steps.join()) {
    steps.replaceChildren(...one.steps.map((text) => {
      const step = document.createElement("li");
      step.textContent = text;
      return step;
    }));
  }
  fill(find(".where", item), one.where.join(" · "));
}

function showTold(told) {
  const list = find("#entries");
  const known = new Map(all(".entry", list).map((item) => [item.dataset.revocation, item]));
  const items = told.map((one) => {
    const item = known.get(one.id) ?? find("#entry").content.firstElementChild.cloneNode(true);
    showEntry(item, one);
    return item;
  });
  if (items.some((item, at) => list.children[at] !== item) || items.length !== list.children.length) {
    list.replaceChildren(...items);
  }
  find(".nothing").hidden = told.length > 0;
}

// All of it

function show() {
  if (!state) return;
  state.people.forEach(showPerson);
  showTold(state.told);
  const notice = find("#connection");
  notice.hidden = reachable;
  fill(notice, reachable ? "" : "The demo has stopped, or cannot be reached. This page goes on when it is back.");
}

function watch() {
  const socket = connect("/watch", []);
  socket.onmessage = (event) => {
    state = JSON.parse(event.data);
    reachable = true;
    show();
  };
  socket.onclose = () => {
    reachable = false;
    show();
    setTimeout(watch, AGAIN_MS);
  };
}

all("form").forEach((form) => form.addEventListener("submit", press));
watch();
