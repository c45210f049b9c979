import { $, many } from "./base.js";

const ROWS = 200;
const LONGEST_WIRE = 20_000;

const page = document.querySelector("main");
const { name, stream, reads, names, last, ends, resumes } = page.dataset;
const key = `gallery:${name}`;
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

let source; // the EventSource
let abort; // ends the fetch under way
let began;
let received;
let opened;
let complete; // the record that ends an export, or null
let waiting = []; // rows that are not shown yet
let kept = JSON.parse(sessionStorage.getItem(key)) ?? {}; // the last id, and the text so far

// Connection

function start() {
  stop();
  began = performance.now();
  received = opened = 0;
  complete = null;
  waiting = [];
  $("events").replaceChildren();
  $("wire").textContent = "";
  if ($("text")) $("text").textContent = kept.text ?? "";
  $("events").hidden = way() === "bytes";
  $("wire").hidden = way() !== "bytes";
  tellFacts();
  show("connecting", "Opening the stream.");
  if (way() === "events") listen();
  else read();
}

function stop() {
  source?.close();
  abort?.abort();
}

function way() {
  return document.querySelector("[name=way]:checked")?.value ?? reads;
}

/** Give the address, with the settings that have a value, and the id to go on after. */
function address(header) {
  const url = new URL(stream, location.href);
  for (const field of fields()) {
    if (!("header" in field.dataset) && field.value) url.searchParams.set(field.name, field.value);
  }
  if (kept.id && !header) url.searchParams.set("last_event_id", kept.id); // a new EventSource sends none
  return url;
}

function fields() {
  return [...($("form")?.querySelectorAll("select, textarea, input:not([type=radio])") ?? [])];
}

function headers() {
  const chosen = fields().filter((field) => "header" in field.dataset && field.value);
  return Object.fromEntries(chosen.map((field) => [field.name, field.value]));
}

// As an EventSource

function listen() {
  const opening = new EventSource(address());
  source = opening;
  source.addEventListener("open", () => {
    opened++;
    tellFacts();
    show("live", opened === 1 ? "The stream is open." : "Reconnected.");
  });
  source.addEventListener("error", () => lost(opening));
  for (const event of ["message", ...names.split(" ").filter(Boolean)]) source.addEventListener(event, take);
}

function take(event) {
  if (event.lastEventId) remember({ id: event.lastEventId });
  row(event.type === "message" ? "" : event.type, event.data, event.lastEventId);
  picture(event.data);
  if (last && (event.type === last || event.data === last)) finish(`It ended with “${last}”.`);
}

async function lost(opening) {
  if (opening.readyState === EventSource.CLOSED) return explain(opening);
  if (ends !== undefined && received) finish("The connection ended, and so the page has closed its side.");
  else show("reconnecting", "The connection ended; the browser opens it again.");
}

/** Find out why the browser has given up: it doesn't tell. */
async function explain(opening) {
  const asking = new AbortController();
  try {
    const answer = await fetch(address(), { signal: asking.signal, cache: "no-store" });
    if (source !== opening) return;
    if (answer.status === 204) finish("The server said that there is no more (204).");
    else if (!answer.ok) show("refused", await reason(answer));
    else show("cut", "The connection was lost.");
  } catch {
    if (source === opening) show("cut", "The server can’t be reached.");
  } finally {
    asking.abort();
  }
}

function finish(told) {
  stop();
  forget();
  show("done", told);
}

// As bytes

async function read() {
  abort = new AbortController();
  const { signal } = abort;
  try {
    const answer = await fetch(address(), { signal, headers: headers(), cache: "no-store" });
    if (!answer.ok) return show("refused", await reason(answer));
    opened++;
    show("live", `The body is ${answer.headers.get("Content-Type") ?? "empty"}.`);
    await (way() === "lines" ? readLines(answer) : readBytes(answer));
    if (!signal.aborted) ended(answer);
  } catch {
    if (!signal.aborted) show("cut", `After ${amount()}: this is not all of it.`);
  }
}

function ended(answer) {
  if (answer.status === 204) finish("The server said that there is no more (204).");
  else if (complete) finish(`${many(complete.count, "record")}, as the server counted.`);
  else finish("The body has ended as it should.");
}

async function readLines(answer) {
  let rest = "";
  for await (const text of texts(answer)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const record = parsed(line);
      if (record.complete) complete = record;
      else row("", line, "");
    }
  }
}

async function readBytes(answer) {
  for await (const text of texts(answer)) {
    received += text.length;
    const wire = $("wire");
    const atEnd = wire.scrollHeight - wire.scrollTop - wire.clientHeight < 40;
    wire.textContent = (wire.textContent + text).slice(-LONGEST_WIRE);
    if (atEnd) wire.scrollTop = wire.scrollHeight;
    tellFacts();
  }
}

async function* texts(answer) {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true };
    if (done) return;
    yield value;
  }
}

async function reason(answer) {
  const { error } = parsed(await answer.text());
  return `${error ?? "The server refused"} (${answer.status}).`;
}

// What is seen

const STATES = {
  off: "Off",
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  done: "Done",
  cut: "Cut off",
  refused: "Refused",
};

function show(state, told) {
  $("status").dataset.state = state;
  $("state").textContent = STATES[state];
  $("note").textContent = told;
  $("switch").textContent = isOn() ? "Stop" : "Start";
  tellFacts();
}

function isOn() {
  return ["connecting", "live", "reconnecting"].includes($("status").dataset.state);
}

function tellFacts() {
  $("received").textContent = amount();
  $("opened").textContent = opened;
  if ($("last-id")) $("last-id").textContent = kept.id ?? "none";
}

function amount() {
  return many(received, { events: "event", lines: "record", bytes: "character" }[way()]);
}

/** Show an event or record. They may come by the hundred, so they are shown once per frame. */
function row(event, data, id) {
  received++;
  const item = document.createElement("li");
  const after = ((performance.now() - began) / 1000).toFixed(2);
  for (const [kind, text] of [["at", `${after} s`], ["name", event], ["data", data], ["id", id && `id ${id}`]]) {
    const part = document.createElement("span");
    part.className = kind;
    part.textContent = text;
    item.append(part);
  }
  if (!waiting.length) requestAnimationFrame(place);
  waiting.push(item);
  waiting = waiting.slice(-ROWS);
}

function place() {
  const list = $("events");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(...waiting);
  waiting = [];
  while (list.childElementCount > ROWS) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
  tellFacts();
}

/** Show what can be shown better than as JSON: figures as bars, and a text as it is written. */
function picture(data) {
  const fields = parsed(data);
  for (const bar of document.querySelectorAll("[data-gauge]")) {
    const value = fields[bar.dataset.gauge];
    if (!Number.isFinite(value)) continue;
    bar.value = value;
    bar.closest(".gauge").querySelector(".figure").textContent = `${tenths.format(value)} %`;
  }
  const token = fields.choices?.[0].delta.content;
  if (!$("text") || !token) return;
  $("text").append(token);
  remember({ text: $("text").textContent });
}

function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

// What is remembered over a reload

function remember(news) {
  kept = { ...kept, ...news };
  if (resumes !== undefined) sessionStorage.setItem(key, JSON.stringify(kept));
}

function forget() {
  kept = {};
  sessionStorage.removeItem(key);
}

// What a visitor does

function again() {
  forget();
  start();
}

$("switch").addEventListener("click", () => {
  if (!isOn()) return start();
  stop();
  show("off", kept.id ? `Start goes on after ${kept.id}.` : "Nothing is being read.");
});
$("again")?.addEventListener("click", again);
$("form")?.addEventListener("submit", (event) => event.preventDefault());
$("form")?.addEventListener("change", again);
// A page that only waits for the back button must not hold one of the browser's six connections.
addEventListener("pagehide", stop);
addEventListener("pageshow", (event) => event.persisted && isOn() && start());
start();
