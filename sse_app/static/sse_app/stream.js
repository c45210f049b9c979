// Live streams for pages: one connection for all tabs of a browser, resumed wherever it was cut.
// docs/browser.md says how it is used, and why it is made as it is. Times are in seconds.

const SHORTEST_WAIT = 0.5; // whatever the server asks for
const LONGEST_WAIT = 60;
const LONGEST_TIMER = 2_000_000;
const STEADY = 10; // a connection that lasted so long makes the next wait short again
const BURST = 0.5; // what follows a reconnect without a longer pause had been missed
const GATHER = 0.06; // changes in several tabs become one reconnect
const JOINING = 5; // how long a tab may keep the others from joining
const ANSWER = 3; // a leader that is silent for so long has been suspended

const TEMPORARY = [401, 408, 425, 429]; // and all from 500 on
const RENEWED = ["lifetime", "expired"]; // reasons to come back

/** The event-stream format (HTML standard, section 9.2): bytes in, in pieces of any size; events out. */
export class EventDecoder {
  lastEventId = "";
  retry;
  #utf8 = new TextDecoder(); // drops the byte order mark
  #rest = "";
  #afterCR;
  #block = { data: [] };

  feed(bytes) {
    let text = this.#utf8.decode(bytes, { stream: true });
    if (!text) return [];
    if (this.#afterCR && text[0] === "\n") text = text.slice(1);
    this.#afterCR = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    return lines.flatMap((line) => (line ? this.#field(line) : this.#dispatch()));
  }

  #field(line) {
    const [, name, value] = /^([^:]*):? ?([^]*)$/.exec(line);
    const block = this.#block;
    if (name === "data") block.data.push(value);
    else if (name === "event") block.type = value;
    else if (name === "id" && !value.includes("\0")) block.id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
    else if (!name && value.startsWith("topic=")) block.topic = value.slice(6); // of a snapshot
    return [];
  }

  #dispatch() {
    const { type, data, ...block } = this.#block;
    this.#block = { data: [] };
    const lastEventId = (this.lastEventId = block.id ?? this.lastEventId);
    return data.length ? [{ ...block, type: type || "message", data: data.join("\n"), lastEventId }] : [];
  }
}

/** Read the positions of a cursor, `a=7-1f&b=`, by topic. Any other id has none. */
function positions(cursor = "") {
  const parts = cursor.split("&").map((part) => part.split("="));
  return parts.every((part) => part.length === 2) ? Object.fromEntries(parts) : {};
}

const cursorOf = (where) => Object.entries(where).map((part) => part.join("=")).join("&");
const seq = (position) => parseInt(position);
const now = () => Date.now() / 1000;
const after = (seconds, act) => setTimeout(act, Math.min(seconds, LONGEST_TIMER) * 1000);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function refusal(answer) {
  const { status, redirected, headers } = answer;
  const { error } = Object(await answer.json().catch(() => 0));
  const later = headers.get("Retry-After");
  return {
    message: error ?? `no event stream, but status ${status}`,
    status,
    wait: Math.max(later || Date.parse(later) / 1000 - now() || 0, 0),
    final: status < 500 && !TEMPORARY.includes(status) && !(status === 200 && redirected), // to a login page
  };
}

/** A connection that is kept: it notices silence, waits, and comes back until it is closed or refused. */
class Line {
  state = "paused";
  lastId = "";
  #attempts = 0;
  #retry = 3;
  #request;
  #timer;
  #watchdog;
  #planned;
  #burst;

  /** `tell` gets each event with the positions before it; `changed` gets the line in a new state. */
  constructor(to, topics, where, tell, changed) {
    Object.assign(this, { to, topics, where: { ...where }, tell, changed });
  }

  open() {
    if (this.state === "paused") this.reopen();
  }

  hurry() {
    if (this.state === "waiting") this.reopen();
  }

  reopen(topicsChanged) {
    this.#drop();
    this.#connect(topicsChanged);
  }

  close() {
    this.#drop();
    this.state = "paused";
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#request?.abort();
    this.#request = null;
  }

  #set(state, error) {
    Object.assign(this, { state, error });
    this.changed(this);
  }

  async #connect(topicsChanged) {
    const request = (this.#request = new AbortController());
    const asked = now();
    this.#planned = false;
    if (this.state !== "live") this.#set("connecting", this.error);
    const error = await this.#read(request.signal, asked, topicsChanged).catch((error) => error);
    if (request !== this.#request) return; // it was closed from here
    this.#drop();
    if (error.final) return this.#set("closed", error);
    if (this.#planned || now() - asked > STEADY) this.#attempts = 0;
    const longest = Math.min(Math.max(this.#retry, SHORTEST_WAIT) * 2 ** this.#attempts++, LONGEST_WAIT);
    const wait = longest * (this.#planned ? 1 : 0.5 + Math.random() / 2); // the server spreads planned ones
    this.#timer = after(wait + (error.wait ?? 0), () => this.#connect());
    this.#set("waiting", error);
  }

  async #read(signal, asked, topicsChanged) {
    this.#heard();
    const { topics, where, to } = this;
    for (const topic in where) if (topics.length && !topics.includes(topic)) delete where[topic];
    const cursor = cursorOf(where) || (topics.length ? "" : this.lastId) || to.cursor;
    const answer = await this.#ask(signal, cursor);
    this.begun = { ...where };
    this.latency = now() - asked;
    this.#burst = cursor && !topicsChanged ? now() + BURST : 0;
    this.#set("live");
    const decoder = new EventDecoder();
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { message: "the stream has ended" };
      this.#heard();
      for (const event of decoder.feed(value)) {
        this.#take(event);
        if (signal.aborted) return;
      }
      if (decoder.retry >= 0) this.#retry = decoder.retry / 1000;
    }
  }

  async #ask(signal, cursor) {
    const { url, headers, credentials } = this.to;
    const address = new URL(url);
    const query = address.searchParams;
    for (const topic of this.topics) query.append("topic", topic);
    const sent = { Accept: "text/event-stream" };
    if (cursor && address.origin === location.origin) {
      sent["Last-Event-ID"] = String.fromCharCode(...new TextEncoder().encode(cursor));
    } else if (cursor) {
      query.delete("since");
      query.set("last_event_id", cursor); // the header would cost a preflight
    }
    Object.assign(sent, typeof headers === "function" ? await headers() : headers);
    const answer = await fetch(address, { headers: sent, credentials, cache: "no-store", signal });
    const type = answer.headers.get("Content-Type");
    if (answer.status !== 200 || !/^text\/event-stream *(;|$)/i.test(type)) throw await refusal(answer);
    return answer;
  }

  #take(event) {
    const before = { ...this.where };
    if (event.id !== undefined) this.to.cursor = "";
    this.lastId = event.lastEventId;
    Object.assign(this.where, positions(event.id));
    event.recovered = now() < this.#burst;
    if (event.recovered) this.#burst = now() + BURST;
    const ends = event.type === "closed";
    event.final = ends && !RENEWED.includes(Object(parsed(event.data)).reason);
    this.tell(event, before);
    if (event.final) throw event;
    this.#planned ||= ends || event.type === "shutdown";
  }

  #heard() {
    clearTimeout(this.#watchdog);
    this.#watchdog = after(this.to.timeout, () => this.#request.abort({ message: "the server is silent" }));
  }
}

/** What a page has of it: topics, listeners, and how far this tab is. */
class Stream {
  state = "connecting";
  transport = "own";
  received = 0;
  recovered = 0;
  missed = 0;
  reconnects = 0;

  #me = Math.random();
  #to;
  #name;
  #store; // where a reload finds the cursor
  #topics;
  #fixed; // the address itself says which topics
  #where;
  #lastId;
  #listeners = new Set();
  #life = new AbortController();
  #stay; // from pageshow to pagehide
  #channel;
  #awake = true;
  #sleep;
  #lived;
  #lost;

  #own; // this tab's line, until the shared one covers it
  #known; // the server has accepted it
  #covered;
  #joining;
  #joined;
  #there = {}; // how far the shared line is
  #silence;

  #leads;
  #shared; // the leader's line, for all
  #resign;
  #peers = new Map();
  #most = Infinity; // topics on it
  #gathering;
  #beat;

  constructor(address, options) {
    const { topics, key = "", cursor, headers, credentials = "same-origin" } = options;
    const { share = true, pause = 300, timeout = 45, resume = 300 } = options;
    const url = new URL(address, document.baseURI);
    const [named, [last]] = ["topic", "last_event_id"].map((name) => {
      const values = url.searchParams.getAll(name);
      url.searchParams.delete(name);
      return values;
    });
    this.#topics = new Set(topics ?? named);
    this.#fixed = !topics && !named.length;
    this.#name = `sse ${url} ${key}`;
    this.#store = `${this.#name} ${this.topics}`;
    const begin = cursor ?? last ?? this.#stored(resume) ?? "";
    this.#where = positions(begin);
    this.#to = { url, headers, credentials, timeout, cursor: cursorOf(this.#where) ? "" : begin };

    const on = (target, type, act) => target.addEventListener(type, act, { signal: this.#life.signal });
    const join = () => this.#join(share);
    const leave = () => this.#leave();
    const see = () => {
      clearTimeout(this.#sleep);
      if (document.hidden) this.#sleep = after(pause, () => this.#rouse(false));
      else this.#rouse(true);
    };
    // A page that only waits for the back button would keep the lock, and all others silent.
    on(window, "pagehide", leave);
    on(window, "pageshow", join);
    on(document, "freeze", leave);
    on(document, "resume", join);
    on(document, "visibilitychange", see);
    on(window, "online", () => this.#hurry());
    join();
    see();
  }

  get topics() {
    return [...this.#topics];
  }

  get cursor() {
    return cursorOf(this.#where) || this.#lastId;
  }

  /** Call `listener(data, event)` for each event of a type, or of all ("*"); gives what ends that. */
  on(type, listener, { topic } = {}) {
    const entry = { type, listener, topic };
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  add(...topics) {
    const before = this.#topics.size;
    topics.forEach((topic) => this.#topics.add(topic));
    if (this.#stay && this.#topics.size > before) this.#catchUp();
  }

  remove(...topics) {
    for (const topic of topics) {
      this.#topics.delete(topic);
      delete this.#where[topic];
    }
    if (this.#covered) this.#greet();
    else if (this.#own) this.#catchUp();
  }

  close(error) {
    this.#leave();
    this.#life.abort();
    clearTimeout(this.#sleep);
    this.#keep(0);
    this.#show({ state: "closed", error });
  }

  // The cursor, for a reload of the page; storage may be blocked.

  #keep(at) {
    try {
      sessionStorage[this.#store] = JSON.stringify([at, this.cursor]);
    } catch {}
  }

  #stored(seconds) {
    try {
      const [at, cursor] = JSON.parse(sessionStorage[this.#store]);
      if (now() - at < seconds) return cursor;
    } catch {}
  }

  // Coming and going

  #join(share) {
    if (this.#stay || this.#life.signal.aborted) return;
    this.#stay = new AbortController();
    if (share && navigator.locks) {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
      this.#lock("", () => this.#lead());
    }
    this.#catchUp();
  }

  #leave() {
    if (!this.#stay) return;
    this.#keep(now());
    this.#say({ bye: true });
    this.#stay.abort();
    [this.#silence, this.#gathering, this.#beat].forEach(clearTimeout);
    this.#own?.close();
    this.#shared?.close();
    this.#joined?.();
    this.#resign?.();
    this.#channel?.close();
    this.#stay = this.#own = this.#shared = this.#channel = this.#leads = this.#covered = this.#joining = null;
  }

  #lock(name, held) {
    navigator.locks.request(this.#name + name, { signal: this.#stay.signal }, held).catch(() => {});
  }

  #rouse(awake) {
    this.#awake = awake;
    if (this.#covered) this.#greet(); // which also tells if the leader has been suspended
    this.#open();
    if (awake) this.#hurry();
  }

  #hurry() {
    this.#own?.hurry();
    this.#shared?.hurry();
  }

  // This tab's own line: at first, after topics were added, and wherever something is missing

  #catchUp() {
    clearTimeout(this.#silence);
    this.#covered = this.#known = false;
    if (this.#own) {
      this.#own.close();
      this.#start();
    } else if (!this.#channel) this.#start();
    else if (!this.#joining) {
      this.#joining = true;
      this.#lock(" join", () => {
        this.#joining = false;
        this.#start();
        return new Promise((joined) => after(JOINING, (this.#joined = joined)));
      });
    }
  }

  #start() {
    const tell = (event) => {
      this.#accept(event);
      if (!this.#own || event.id === undefined) return;
      if (!this.#known) {
        this.#known = true;
        this.#greet();
      }
      this.#settle();
    };
    const changed = (line) => (line.state === "closed" ? this.close(line.error) : this.#show(line));
    this.#own = new Line(this.#to, this.topics, this.#where, tell, changed);
    this.#open();
  }

  #open() {
    const own = this.#own;
    if (!own) return;
    if (this.#awake && (this.#fixed || this.#topics.size)) own.open();
    else own.close();
    this.#show(own);
  }

  /** Leave the own line for the shared one, as soon as that misses nothing. */
  #settle() {
    const own = this.#own;
    if (!this.#known || own?.state !== "live") return;
    const reached = ([topic, there]) => {
      const here = this.#where[topic];
      return here === there || (seq(here) > seq(there) && here !== own.begun[topic]); // the server's, not a claim
    };
    if (!this.#mine(this.#there)?.every(reached)) return;
    own.close();
    this.#cover();
  }

  #cover() {
    this.#own = null;
    this.#covered = true;
    this.#joined();
  }

  /** Give the positions of this tab's topics, if all of them are there. */
  #mine(where) {
    const mine = Object.entries(where).filter(([topic]) => this.#has(topic));
    return mine.length && (this.#fixed || mine.length === this.#topics.size) ? mine : null;
  }

  #has(topic) {
    return this.#fixed || this.#topics.has(topic);
  }

  // Between the tabs

  #say(message) {
    if (!this.#channel) return;
    message.from = this.#me;
    this.#channel.postMessage(message);
    this.#hear(message);
  }

  #greet() {
    if (!this.#covered && !this.#known) return;
    this.#say({ hello: { topics: this.topics, where: this.#where, awake: this.#awake } });
    this.#expect(ANSWER);
  }

  /** Go on alone if the leader says nothing for so long. */
  #expect(seconds) {
    clearTimeout(this.#silence);
    if (this.#covered && !this.#leads) this.#silence = after(seconds, () => this.#catchUp());
  }

  #hear({ from, hello, bye, who, again, status, event, before }) {
    if (hello) this.#peers.set(from, hello);
    if (bye) this.#peers.delete(from);
    if (this.#leads && (hello || bye)) {
      clearTimeout(this.#gathering);
      this.#gathering = after(GATHER, () => this.#tend());
    }
    if (who) this.#greet();
    if (again && this.#covered) this.#catchUp();
    if (!status && !event) return;
    this.#expect(status?.state === "paused" ? Infinity : 2 * this.#to.timeout);
    if (event && this.#covered) {
      const missing = ([topic, there]) => there && !(seq(this.#where[topic]) >= seq(there));
      if (this.#mine(before)?.some(missing) ?? true) this.#catchUp();
      else this.#accept(event, before);
    }
    this.#there = event ? { ...before, ...positions(event.id) } : status.where;
    this.#settle();
    if (status && this.#covered) this.#show(status);
  }

  #lead() {
    this.#leads = true;
    this.#peers.clear();
    if (this.#own) {
      this.#share(this.#own);
      this.#cover();
    }
    this.#say({ who: true });
    this.#beat = setInterval(() => this.#tellStatus(), this.#to.timeout * 1000);
    return new Promise((resign) => (this.#resign = resign));
  }

  #share(line) {
    line.tell = (event, before) => this.#say({ event, before });
    line.changed = () => {
      if (line.state !== "closed") return this.#tellStatus();
      // One tab's topics, or all together, were refused: each tab finds out for itself.
      this.#shared = null;
      this.#most = line.topics.length - 1;
      this.#peers.clear();
      this.#say({ again: true });
    };
    return (this.#shared = line);
  }

  #tellStatus() {
    const { state, error, latency, where } = this.#shared ?? { state: "paused", where: {} };
    this.#say({ status: { state, error, latency, where } });
  }

  /** Let the shared line be what all tabs need together. */
  #tend() {
    const peers = [...this.#peers.values()];
    let union = new Set();
    for (const { topics } of peers) {
      const wider = new Set([...union, ...topics]);
      if (wider.size <= this.#most) union = wider;
    }
    const line = this.#shared ?? this.#share(new Line(this.#to, [...union]));
    for (const { where } of peers) {
      for (const topic in where) if (this.#fixed || union.has(topic)) line.where[topic] ??= where[topic];
    }
    const same = union.size === line.topics.length && line.topics.every((topic) => union.has(topic));
    line.topics = [...union];
    if (!peers.some(({ awake }) => awake) || !(this.#fixed || union.size)) line.close();
    else if (same) line.open();
    else line.reopen(true);
    this.#tellStatus();
  }

  // What the page gets

  /** Take an event, unless this tab has had it; `before` are the positions before it on the shared line. */
  #accept(event, before) {
    const { type, lastEventId, recovered } = event;
    const at = positions(event.id);
    const had = new Set();
    for (const topic in at) {
      const here = this.#where[topic];
      if (before && before[topic] !== here && !(seq(at[topic]) > seq(here))) had.add(topic);
      else if (this.#has(topic)) this.#where[topic] = at[topic];
    }
    this.#lastId = lastEventId;
    if (type === "cursor") return;
    let data = parsed(event.data);
    let topic = event.topic ?? Object.keys(at)[0] ?? (this.#topics.size === 1 ? this.topics[0] : undefined);
    const gets = (topic) => !had.has(topic) && (topic === undefined || this.#has(topic));
    if (["reset", "lagged", "shutdown", "closed"].includes(type)) {
      data = Object(data);
      const told = (data.topics ?? [data]).filter((told) => gets(told.topic));
      if (!told.length) return;
      if (data.topics) data = { topics: told };
      for (const { missed = 0 } of told) this.missed += missed;
      topic = data.topic;
    } else {
      if (!gets(topic)) return;
      this.received++;
      if (recovered) this.recovered++;
    }
    const told = { type, data: event.data, topic, lastEventId, recovered };
    for (const { listener, ...wanted } of this.#listeners) {
      if (![type, "*"].includes(wanted.type) || (wanted.topic ?? topic) !== topic) continue;
      queueMicrotask(() => listener(data, told)); // one that fails does not stop the others
    }
    // One of the topics may be another tab's.
    if (event.final && !(before && data.reason === "revoked")) this.close({ message: "closed", ...data });
  }

  #show({ state, error, latency }) {
    const transport = !this.#covered ? "own" : this.#leads ? "leader" : "follower";
    if (state === "connecting" && this.state === "live") return;
    if (state === this.state && transport === this.transport) return;
    if (state === "waiting") this.#lost = this.#lived;
    if (state === "live") {
      if (this.#lost) this.reconnects++;
      this.#lived = true;
      this.#lost = false;
    }
    Object.assign(this, { state, error, latency, transport });
    this.onstate?.(state, this);
  }
}

/** Open a stream: docs/browser.md lists the options. */
export function connect(address, options = {}) {
  return new Stream(address, options);
}
