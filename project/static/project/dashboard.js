import { $, many } from "./base.js";

const LIMIT = 100;
// After a reconnect: what follows at once was missed; what another process has published takes a little
// longer to be found in the log, and its time may tell. Clocks differ, so it does not decide alone.
const BURST = 500;
const SILENCE = 2000;
const LONGEST_REPLAY = 10_000;
const LONGEST_WAIT = 30_000;

const page = document.querySelector("main");
const pageTitle = document.title;
const ago = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const dateAndTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

let source;
let lastId = page.dataset.cursor;
let timer; // of the next attempt, where the browser has given up
let attempts = 0;
let interrupted = false;
let replay = null; // while missed events come back: how many, which are gone, since when, how long at once
let replayTimer; // ends it
let received = 0;
let reconnects = 0;
let unseen = 0;

// Connection

function connect() {
  disconnect();
  const address = new URL(page.dataset.stream, location.href);
  address.searchParams.set("last_event_id", lastId); // a new EventSource sends no Last-Event-ID
  source = new EventSource(address);
  source.addEventListener("error", lost);
  source.addEventListener("message", receive);
  source.addEventListener("notification", receive);
  source.addEventListener("cursor", attached);
  source.addEventListener("reset", passedOver);
  source.addEventListener("lagged", passedOver);
  source.addEventListener("shutdown", () => show("reconnecting", "The server is restarting."));
  source.addEventListener("closed", closed);
}

function disconnect() {
  clearTimeout(timer);
  timer = undefined;
  source?.close();
}

function attached(event) {
  remember(event);
  attempts = 0;
  show("live", interrupted ? "Reconnected." : "Nothing was missed.");
  $("since").textContent = `since ${clock.format()}`;
  if (!interrupted) return;
  interrupted = false;
  $("reconnects").textContent = ++reconnects;
  replay = { count: 0, gone: "", since: Date.now(), burst: Date.now() + BURST };
  $("list").ariaLive = "off"; // the count is read out instead
  awaitSilence();
}

function lost() {
  interrupted = true;
  endReplay();
  if (state() !== "reconnecting") show("reconnecting", "What you miss will come back.");
  // The browser comes back by itself, but not after a refusal; Firefox not even to a server that is down.
  if (source.readyState === EventSource.CLOSED) {
    const longest = Math.min(1000 * 2 ** attempts++, LONGEST_WAIT);
    timer = setTimeout(connect, longest * (0.5 + Math.random() / 2));
  }
}

function closed(event) {
  const { reason } = parsed(event.data);
  if (reason === "lifetime") return; // the browser opens the next stream
  disconnect();
  interrupted = true;
  show("closed", reason ? `The server closed the stream: ${reason}.` : "The server closed the stream.");
}

function toggle() {
  if (isOn()) {
    disconnect();
    endReplay();
    interrupted = true;
    show("off", "What you miss comes back when you connect.");
  } else {
    show("connecting", "Opening the stream.");
    connect();
  }
}

// What arrives

function receive(event) {
  remember(event);
  $("received").textContent = ++received;
  const fields = parsed(event.data);
  const recovered = isMissed(moment(fields.timestamp));
  if (recovered) {
    replay.count++;
    replay.burst = Date.now() + BURST;
    tellReplay();
    awaitSilence();
  }
  add(event, fields, recovered);
  if (document.hidden) document.title = `(${++unseen}) ${pageTitle}`;
}

function remember(event) {
  if (event.lastEventId) lastId = $("last-id").textContent = event.lastEventId;
}

/** Say how many events are gone: `reset` tells it for each topic, `lagged` for one. */
function passedOver(event) {
  remember(event);
  const told = parsed(event.data);
  const missed = (told.topics ?? [told]).map((topic) => topic.missed);
  const known = missed.every(Number.isInteger); // null where it can't be known
  const number = known ? many(missed.reduce((sum, one) => sum + one), "notification") : "some notifications";
  const gone = `${number} could not be recovered`;
  const item = document.createElement("li");
  item.className = "gap";
  item.textContent = gone;
  place(item);
  if (!replay) return note(`${gone}.`);
  replay.gone = gone;
  tellReplay();
}

function isMissed(published) {
  return replay !== null && (Date.now() < replay.burst || !published || published < replay.since);
}

function awaitSilence() {
  clearTimeout(replayTimer);
  replayTimer = setTimeout(endReplay, Math.min(SILENCE, replay.since + LONGEST_REPLAY - Date.now()));
}

function tellReplay() {
  const { count, gone } = replay;
  const back = count ? `${many(count, "missed notification")} came back` : !gone && "nothing was missed";
  note(`Reconnected: ${[back, gone].filter(Boolean).join("; ")}.`);
}

function endReplay() {
  clearTimeout(replayTimer);
  if (replay) tellReplay();
  replay = null;
  $("list").ariaLive = "polite";
}

// What is seen

const STATES = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  off: "Disconnected",
  closed: "Closed",
};

function show(next, told) {
  $("status").dataset.state = next;
  $("state").textContent = STATES[next];
  $("since").textContent = "";
  note(told);
  $("switch").textContent = isOn() ? "Disconnect" : "Connect";
}

function note(told) {
  $("note").textContent = told;
}

function state() {
  return $("status").dataset.state;
}

function isOn() {
  return state() === "connecting" || state() === "live";
}

/** Show an event. Anyone may publish anything: what has no title and no text is shown as it is. */
function add(event, fields, recovered) {
  const [title, body, level, sender] = [fields.title, fields.body, fields.level, fields.sender].map(text);
  const item = $("item").content.firstElementChild.cloneNode(true);
  const put = (name, value) => (item.querySelector(`.${name}`).textContent = value);
  item.dataset.level = level || "info";
  put("seq", /=(\d+)-/.exec(event.lastEventId)?.[1] ?? "");
  put("title", title || (body ? "" : event.data || "(empty)"));
  put("body", body);
  put("level", level || "info");
  put("sender", sender);
  put("mark", recovered ? "recovered" : "");
  item.classList.add("new");
  item.classList.toggle("recovered", recovered);
  const time = item.querySelector("time");
  time.dateTime = (moment(fields.timestamp) ?? new Date()).toISOString();
  tell(time);
  place(item);
}

function place(item) {
  $("list").prepend(item);
  while ($("list").childElementCount > LIMIT) $("list").lastElementChild.remove();
}

/** Write a time as one would say it; clocks differ a little, so nothing is in the future. */
function tell(time) {
  const minutes = Math.max(0, Math.floor((Date.now() - new Date(time.dateTime)) / 60_000));
  time.title = dateAndTime.format(new Date(time.dateTime));
  if (minutes < 1) time.textContent = "just now";
  else if (minutes < 60) time.textContent = ago.format(-minutes, "minute");
  else if (minutes < 24 * 60) time.textContent = ago.format(-Math.floor(minutes / 60), "hour");
  else time.textContent = time.title;
}

function tellTimes() {
  document.querySelectorAll("time").forEach(tell);
}

function parsed(data) {
  try {
    return Object(JSON.parse(data));
  } catch {
    return {};
  }
}

function text(value) {
  return typeof value === "string" || Number.isFinite(value) ? String(value) : "";
}

/** A time with its zone, as JSON has it; anything else is none: `new Date` would guess. */
function moment(value) {
  const date = new Date(/^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)$/.test(value) ? value : NaN);
  return Number.isNaN(date.getTime()) ? null : date;
}

// What a visitor does

async function publish(event) {
  event.preventDefault();
  const form = event.target;
  if (form.ariaBusy === "true") return;
  const { csrfmiddlewaretoken, title, body, level } = Object.fromEntries(new FormData(form));
  const data = { title, body, level, sender: page.dataset.sender, timestamp: new Date() };
  form.ariaBusy = "true"; // rather than a disabled button, which would lose the focus
  $("result").textContent = "";
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": csrfmiddlewaretoken },
      body: JSON.stringify({ event: "notification", data }),
    });
    const told = parsed(await answer.text()); // a refusal may be a page
    if (answer.ok) form.reset();
    $("result").dataset.ok = answer.ok;
    $("result").textContent = answer.ok
      ? `Sent · ${many(told.receivers, "open stream")} in this process`
      : told.error ?? `Refused (${answer.status}). Reload the page and try again.`;
  } catch {
    $("result").dataset.ok = false;
    $("result").textContent = "The server can’t be reached.";
  }
  form.ariaBusy = "false";
}

$("switch").addEventListener("click", toggle);
$("publish")?.addEventListener("submit", publish);
document.addEventListener("visibilitychange", () => {
  unseen = 0;
  document.title = pageTitle;
  tellTimes();
});
addEventListener("online", () => timer && connect());
if ($("publishing")) $("publishing").open = matchMedia("(min-width: 60rem)").matches; // beside the list
// A page that only waits for the back button must not hold one of the browser's six connections.
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => {
  if (!event.persisted || !(isOn() || state() === "reconnecting")) return;
  interrupted = true;
  connect();
});
setInterval(tellTimes, 15_000);
tellTimes();
connect();
