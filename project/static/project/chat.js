import { $, many } from "./base.js";

const LIMIT = 500;
const LONGEST_WAIT = 30_000;
// Close codes after which trying again would change nothing: refused, or a message that was too large.
const FINAL = (code) => code === 1009 || (code >= 4400 && code < 4500 && code !== 4408);

const me = document.querySelector("main").dataset.user;
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });

let socket;
let lastId; // where to go on in the room
let attempts = 0;
let timer;

const chosen = () => document.querySelector("[name=room]:checked").value;

function join() {
  clearTimeout(timer);
  const address = new URL(`/ws/chat/${chosen()}/`, location);
  address.protocol = address.protocol.replace("http", "ws");
  if (lastId) address.searchParams.set("last_event_id", lastId);
  socket = new WebSocket(address);
  const mine = socket;
  const current = (handle) => (event) => mine === socket && handle(event);
  socket.addEventListener("message", current(({ data }) => take(JSON.parse(data))));
  socket.addEventListener("close", current(lost));
}

function leave() {
  clearTimeout(timer);
  const old = socket;
  socket = undefined;
  old?.close(1000);
}

function enter() {
  leave();
  lastId = undefined;
  $("list").replaceChildren();
  $("room").textContent = chosen();
  document.querySelectorAll(".command code").forEach((code) => {
    code.textContent = code.textContent.replace(/room\.[\w-]+/, `room.${chosen()}`);
  });
  present({});
  show("connecting", "Opening the room.");
  join();
}

function lost({ code, reason }) {
  if (FINAL(code)) return show("closed", reason || `The server closed the room: ${code}.`);
  show("reconnecting", "What you miss will come.");
  const longest = Math.min(1000 * 2 ** attempts++, LONGEST_WAIT);
  timer = setTimeout(join, longest * (0.5 + Math.random() / 2));
}

// What arrives

const TAKES = {
  cursor: live,
  message: add,
  presence: present,
  reset: () => tell("Some messages are no longer kept."),
  error: ({ error }) => ($("error").textContent = error),
};

function take(frame) {
  if (frame.id) lastId = frame.id;
  TAKES[frame.type]?.(frame);
}

function live() {
  attempts = 0;
  if ($("status").dataset.state !== "live") show("live", "Messages arrive as they are written.");
}

/** Show a message. Anyone may publish anything to a topic: it is text, and never more. */
function add({ user, text, timestamp }) {
  live();
  const item = $("item").content.firstElementChild.cloneNode(true);
  const written = new Date(timestamp ?? Date.now());
  item.classList.toggle("mine", Boolean(me) && user === me);
  item.querySelector("strong").textContent = user || "someone";
  item.querySelector(".text").textContent = text ?? "";
  const time = item.querySelector("time");
  if (!Number.isNaN(written.valueOf())) {
    time.dateTime = written.toISOString();
    time.textContent = clock.format(written);
  }
  place(item);
}

function tell(words) {
  const item = document.createElement("li");
  item.className = "told";
  item.textContent = words;
  place(item);
}

function place(item) {
  const list = $("list");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 48;
  list.append(item);
  while (list.childElementCount > LIMIT) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function present({ readers = 0, users = [] }) {
  document.querySelector(".present").hidden = !readers;
  $("readers").textContent = readers;
  const unnamed = readers - users.length;
  const names = users.length ? [users.join(", ")] : [];
  if (unnamed > 0) names.push(many(unnamed, users.length ? "more connection" : "connection"));
  $("present").textContent = names.join(" and ");
}

// What is seen

const STATES = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  off: "Not connected",
  closed: "Closed",
};

function show(state, note) {
  $("status").dataset.state = state;
  $("state").textContent = STATES[state];
  $("note").textContent = note;
  $("switch").hidden = false;
  $("switch").textContent = isOn() ? "Leave" : "Join";
}

const isOn = () => ["connecting", "live", "reconnecting"].includes($("status").dataset.state);

function toggle() {
  if (isOn()) {
    leave();
    present({});
    show("off", "What is written meanwhile comes when you join.");
  } else {
    show("connecting", "Opening the room.");
    join();
  }
}

function write(event) {
  event.preventDefault();
  $("error").textContent = "";
  const text = $("text").value;
  if (!text.trim()) return;
  if (socket?.readyState !== WebSocket.OPEN) {
    $("error").textContent = "Not connected: the message stays here until you are.";
    return;
  }
  socket.send(JSON.stringify({ type: "message", text }));
  $("text").value = "";
}

if (me) {
  $("form").addEventListener("submit", write);
  $("switch").addEventListener("click", toggle);
  $("rooms").addEventListener("change", enter);
  enter();
}
