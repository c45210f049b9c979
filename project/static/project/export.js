import { $, many } from "./base.js";

const NEWLINE = 10;
const DRAWN_EVERY = 100;
const SPEED_OF_LAST = 2000;

const page = document.querySelector("main");
const pageTitle = document.title;
const decoder = new TextDecoder();
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

let parts; // the whole lines, as they came
let rows;
let bytes;
let newest; // the last row
let total = Number(page.dataset.total);
let abort; // ends the download under way
let samples = []; // [time, rows] of the last moments, for the speed
let quarter; // which has been announced

// Download

async function download() {
  abort = new AbortController();
  samples = [[performance.now(), rows]];
  quarter = reached(4);
  show("running", rows ? `Resumed after ${many(rows, "row")}.` : "Asking the server.");
  const drawing = setInterval(draw, DRAWN_EVERY);
  const started = [performance.now(), rows];
  let end;
  try {
    end = await attempt();
  } catch (error) {
    end = abort.signal.aborted ? ["cancelled", "Resume goes on where it stopped."] : ["cut", why(error)];
  }
  abort.abort(); // where it was not read to its end
  clearInterval(drawing);
  samples = [started]; // the speed of the whole
  draw();
  show(...end);
}

/** Download what is missing; give the state that this ends in, and what to say. */
async function attempt() {
  const before = rows;
  const answer = await fetch(address(), { signal: abort.signal, cache: "no-store" });
  if (!answer.ok) throw new Refused(await answer.text(), answer.status);
  total = rows + Number(answer.headers.get("X-Total-Count"));
  if (!rows) note(`${many(total, "row")} to come.`);
  const trailer = await receive(answer.body.getReader());
  if (!trailer) return ["cut", "The record that ends it is missing."];
  if (trailer.count !== rows - before) {
    const told = `The server counted ${many(trailer.count, "row")}, but ${whole.format(rows - before)} came.`;
    forget(); // which are missing can't be known
    return ["cut", told];
  }
  total = rows;
  return ["complete", `${many(rows, "row")}, as many as the server counted.`];
}

/** Keep the rows of a body, whole lines only; give the record that ends it, or null. */
async function receive(reader) {
  let rest = new Uint8Array(); // the beginning of a line
  let trailer = null;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return trailer;
    const end = value.lastIndexOf(NEWLINE) + 1;
    if (end) {
      trailer = keep(joined(rest, value.subarray(0, end)));
      rest = value.slice(end);
    } else {
      rest = joined(rest, value);
    }
  }
}

/** Keep some whole lines. If the last one is no row but the record that ends it all, give that. */
function keep(lines) {
  const last = lastRecord(lines);
  if (last.complete === true) {
    if (startOfLast(lines)) keep(lines.subarray(0, startOfLast(lines)));
    return last;
  }
  parts.push(lines);
  rows += lines.reduce((count, byte) => count + (byte === NEWLINE), 0);
  bytes += lines.length;
  newest = last;
  return null;
}

function address() {
  const url = new URL(page.dataset.rows, location.href);
  const { value: pace } = document.querySelector("[name=pace]:checked");
  if (pace) url.searchParams.set("pace", pace);
  if (newest) url.searchParams.set("after", newest.id);
  return url;
}

function forget() {
  parts = [];
  rows = bytes = 0;
  newest = null;
}

class Refused extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

function why(error) {
  if (error instanceof Refused) return `The server refused (${error.status}).`;
  return rows ? "The connection is lost. Resume when the server is back." : "The server can’t be reached.";
}

function joined(one, other) {
  if (!one.length) return other;
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

function startOfLast(lines) {
  return lines.subarray(0, -1).lastIndexOf(NEWLINE) + 1;
}

function lastRecord(lines) {
  return JSON.parse(decoder.decode(lines.subarray(startOfLast(lines))));
}

// What is seen

const STATES = {
  running: () => "Downloading",
  cancelled: () => `Cancelled after ${many(rows, "row")}`,
  cut: () => (rows ? `Cut off after ${many(rows, "row")}: resume` : "Not downloaded"),
  complete: () => "Complete",
};

function show(state, told) {
  $("status").dataset.state = page.dataset.state = state;
  $("state").textContent = STATES[state]();
  note(told);
  const action = { running: "Cancel", complete: "Save file" };
  $("switch").textContent = action[state] ?? (rows ? "Resume" : "Download");
  $("switch").classList.toggle("primary", state !== "running");
  $("again").hidden = state === "running" || !rows;
  $("pace").disabled = state === "running";
  if (state !== "running") document.title = pageTitle;
}

function note(told) {
  $("note").textContent = told;
}

function state() {
  return $("status").dataset.state;
}

function draw() {
  const now = performance.now();
  samples.push([now, rows]);
  while (samples.length > 2 && now - samples[0][0] > SPEED_OF_LAST) samples.shift();
  const [since, had] = samples[0];
  const percent = `${reached(100)}%`;
  $("progress").max = total || 1;
  $("progress").value = rows;
  $("percent").textContent = percent;
  $("rows").textContent = whole.format(rows);
  $("total").textContent = whole.format(total);
  $("bytes").textContent = size(bytes);
  $("speed").textContent = whole.format(((rows - had) * 1000) / Math.max(1, now - since));
  $("last-id").textContent = newest?.id ?? "none";
  $("newest").textContent = newest ? JSON.stringify(newest) : "None yet.";
  document.title = `${percent} · ${pageTitle}`;
  announce();
}

/** Tell a screen reader each quarter once; start and end are told by the state. */
function announce() {
  if (reached(4) <= quarter) return;
  quarter = reached(4);
  if (quarter < 4) $("quarter").textContent = `${quarter * 25}%`;
}

/** Tell how many of so many equal steps are done. */
function reached(steps) {
  return total ? Math.min(steps, Math.floor((rows * steps) / total)) : 0;
}

function size(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${tenths.format(count / 1e3)} kB` : `${tenths.format(count / 1e6)} MB`;
}

// What a visitor does

function act() {
  if (state() === "running") abort.abort();
  else if (state() === "complete") save();
  else download();
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type: "application/x-ndjson" }));
  link.download = page.dataset.filename;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  note(`Handed to the browser as ${link.download}.`);
}

function again() {
  $("switch").focus(); // this button goes
  forget();
  download();
}

$("switch").addEventListener("click", act);
$("again").addEventListener("click", again);
forget();
