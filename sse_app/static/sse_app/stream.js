// Live streams: one connection for all tabs of a browser. Why it works like this: docs/browser.md.

const STEADY = 10; // after this the next wait is short again
const BURST = 0.5; // the longest pause within what was missed
const GATHER = 0.06;
const JOINING = 5;
const ANSWER = 3;

/** The event-stream format (HTML standard, section 9.2): bytes in, events out. */
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

/** The positions of a cursor, `a=7-1f&b=`, by topic. */
function positions(cursor = "") {
  const parts = cursor.split("&").map((part) => part.split("="));
  return parts.every((part) => part.length === 2) ? Object.fromEntries(parts) : {};
}

const cursorOf = (where) => Object.entries(where).map((part) => part.join("=")).join("&");
const seq = (position) => parseInt(position);
const now = () => Date.now() / 1000;
const after = (seconds, act) => setTimeout(act, Math.min(seconds, 2e6) * 1000); // Infinity would be 0

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const storage = (() => {
  try {
    return sessionStorage;
  } catch {} // blocked, as are locks then
})();

async function refusal(answer) {
  const { status, redirected, headers } = answer;
  const { error } = Object(await answer.json().catch(() => 0));
  const later = headers.get("Retry-After");
  return {
    message: error ?? `status ${status}`,
    status,
    wait: Math.max(+later || Date.parse(later) / 1000 - now() || 0, 0),
    final: status < 500 && ![401, 408, 425, 429].includes(status) && !(status === 200 && redirected),
  };
}

/** A connection that comes back until it is closed or refused. */
class Line {
  state = "paused";
  lastId = "";
  attempts = 0;
  retry = 3;

  constructor(to, topics, where, tell, changed) {
    Object.assign(this, { to, topics, where: { ...where }, tell, changed });
  }

  open() {
    if (this.state === "paused" || (this.state === "waiting" && !this.error.wait)) this.reopen();
  }

  reopen(topicsChanged) {
    this.drop();
    this.connect(topicsChanged);
  }

  close() {
    this.drop();
    this.state = "paused";
  }

  drop() {
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    this.request?.abort();
    this.request = null;
  }

  become(state, error) {
    Object.assign(this, { state, error });
    this.changed(this);
  }

  async connect(topicsChanged) {
    const request = (this.request = new AbortController());
    const asked = now();
    this.planned = false;
    if (this.state !== "live") this.become("connecting", this.error);
    const error = await this.read(request.signal, asked, topicsChanged).catch((error) => error);
    if (request !== this.request) return; // closed from here
    this.drop();
    if (error.final) return this.become("closed", error);
    if (this.planned || now() - asked > STEADY) this.attempts = 0;
    const longest = Math.min(Math.max(this.retry, 0.5) * 2 ** this.attempts++, 60);
    const wait = longest * (this.planned ? 1 : 0.5 + Math.random() / 2);
    this.timer = after(wait + (error.wait ?? 0), () => this.connect());
    this.become("waiting", error);
  }

  async read(signal, asked, topicsChanged) {
    this.heard();
    const { topics, where, to } = this;
    for (const topic in where) if (topics.length && !topics.includes(topic)) delete where[topic];
    const cursor = (topics.length ? "" : this.lastId) || cursorOf(where) || to.cursor;
    const answer = await this.ask(signal, cursor);
    this.begun = { ...where };
    this.latency = now() - asked;
    this.burst = cursor && !topicsChanged ? now() + BURST : 0;
    this.become("live");
    const decoder = Object.assign(new EventDecoder(), { lastEventId: this.lastId });
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { message: "the stream has ended" };
      this.heard();
      for (const event of decoder.feed(value)) {
        this.take(event);
        if (signal.aborted) return;
      }
      this.lastId = decoder.lastEventId;
      if (decoder.retry >= 0) this.retry = decoder.retry / 1000;
    }
  }

  async ask(signal, cursor) {
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
    const isStream = /^text\/event-stream\b/i.test(answer.headers.get("Content-Type"));
    if (answer.status === 200 && isStream) return answer;
    throw await refusal(answer);
  }

  take(event) {
    const before = this.where;
    if (event.id !== undefined) {
      this.where = positions(event.id);
      this.to.cursor = "";
    }
    event.recovered = now() < this.burst;
    if (event.recovered) this.burst = now() + BURST;
    const ends = event.type === "closed";
    event.final = ends && !["lifetime", "expired"].includes(Object(parsed(event.data)).reason);
    this.tell(event, before);
    if (event.final) throw event;
    this.planned ||= ends || event.type === "shutdown";
  }

  heard() {
    clearTimeout(this.watchdog);
    this.watchdog = after(this.to.timeout, () => this.request.abort({ message: "the server is silent" }));
  }
}

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
  #store;
  #topics;
  #fixed; // the topics are in the path
  #where;
  #lastId;
  #listeners = new Set();
  #life = new AbortController();
  #stay; // from pageshow to pagehide
  #channel;
  #awake = true;
  #timers = {};
  #lost; // undefined until it is live

  #own; // this tab's line, until the shared one is as far
  #known; // and accepted
  #covered;
  #joining;
  #joined;
  #there = {}; // how far that is

  #leads;
  #shared;
  #resign;
  #peers = new Map();
  #most = Infinity; // topics

  constructor(address, { topics, key = "", cursor, share = true, ...to }) {
    const { pause = 300, timeout = 45, resume = 300 } = to;
    const url = new URL(address, document.baseURI);
    const query = url.searchParams;
    const named = query.getAll("topic");
    const last = query.get("last_event_id");
    query.delete("topic");
    query.delete("last_event_id");
    this.#topics = new Set(topics ?? named);
    this.#fixed = !topics && !named.length;
    this.#name = `sse ${url} ${key}`;
    this.#store = `${this.#name} ${this.topics}`;
    const [at, stored] = parsed(storage?.[this.#store]) ?? [];
    const begin = (cursor ?? last ?? (now() - at < resume && stored)) || "";
    this.#where = positions((this.#lastId = begin));
    this.#to = { ...to, url, timeout, cursor: begin };

    const [join, leave] = [() => this.#join(share), () => this.#leave()];
    const see = () => {
      this.#later("sleep", pause, () => this.#rouse(!document.hidden));
      if (!document.hidden) this.#rouse(true);
    };
    // A page kept for the back button would keep the lock, and the others silent.
    const acts = { pageshow: join, resume: join, pagehide: leave, freeze: leave };
    Object.assign(acts, { visibilitychange: see, online: see });
    const how = { capture: true, signal: this.#life.signal }; // not all of them bubble
    for (const type in acts) addEventListener(type, acts[type], how);
    join();
    see();
  }

  get topics() {
    return [...this.#topics].sort();
  }

  get cursor() {
    return this.#fixed ? this.#lastId : cursorOf(this.#where);
  }

  /** Call `listener(data, event)` for events of a type ("*": all); gives what ends that. */
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
    this.#keep(0);
    this.#show({ state: "closed", error });
  }

  #keep(at) {
    if (storage) storage[this.#store] = JSON.stringify([at, this.cursor]);
  }

  #join(share) {
    if (this.#stay || this.#life.signal.aborted) return;
    this.#stay = new AbortController();
    if (share && storage && navigator.locks) {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
    }
    this.#catchUp(); // first: a leader has a line to share
    if (this.#channel) this.#lock("", () => this.#lead());
  }

  #leave() {
    if (!this.#stay) return;
    this.#say({ bye: true });
    this.#stay.abort();
    Object.values(this.#timers).forEach(clearTimeout);
    this.#own?.close();
    this.#shared?.close();
    this.#joined?.();
    this.#resign?.();
    this.#channel?.close();
    this.#stay = this.#channel = this.#own = this.#shared = null;
    this.#leads = this.#covered = this.#joining = false;
    this.#keep(now());
  }

  #lock(name, held) {
    navigator.locks.request(this.#name + name, { signal: this.#stay.signal }, held).catch(() => {});
  }

  #later(name, seconds, act) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = after(seconds, act);
  }

  #rouse(awake) {
    this.#awake = awake;
    if (this.#covered) this.#greet();
    this.#open();
  }

  /** Begin with a line of its own: at first, with new topics, and wherever something is missing. */
  #catchUp() {
    this.#covered = this.#known = false;
    this.#own?.close();
    if (this.#own || !this.#channel) this.#start();
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
      if (event.id !== undefined && !this.#known) {
        this.#known = true;
        this.#greet();
      }
      this.#settle();
    };
    const changed = (line) => (line.state === "closed" ? this.close(line.error) : this.#show(line));
    this.#own = new Line(this.#to, this.topics, this.#where, tell, changed);
    this.#own.lastId = this.#lastId;
    this.#open();
  }

  #open() {
    const own = this.#own;
    if (!own) return;
    if (this.#wanted) own.open();
    else own.close();
    this.#show(own);
  }

  /** Leave the own line as soon as that misses nothing. */
  #settle() {
    const own = this.#own;
    if (!this.#known || own?.state !== "live") return;
    const reached = (topic) => {
      const [here, there] = [this.#where[topic], this.#there[topic]];
      if (here === there) return topic in this.#there;
      return seq(here) > seq(there) && here !== own.begun[topic]; // not a mere claim
    };
    const topics = this.#topicsOf(this.#there);
    if (!topics.length || !topics.every(reached)) return;
    own.close();
    this.#cover();
  }

  #cover() {
    this.#own = null;
    this.#covered = true;
    this.#joined();
  }

  #topicsOf(where) {
    return this.#fixed ? Object.keys(where) : this.topics;
  }

  #has(topic) {
    return this.#fixed || this.#topics.has(topic);
  }

  #say(message) {
    if (!this.#channel) return;
    message.from = this.#me;
    this.#channel.postMessage(message);
    this.#hear(message);
  }

  get #wanted() {
    return this.#awake && (this.#fixed || this.#topics.size > 0);
  }

  #greet() {
    if (!this.#covered && !this.#known) return;
    this.#say({ hello: { topics: this.topics, where: this.#where, wanted: this.#wanted } });
    this.#expect(ANSWER);
  }

  /** Go on alone if the leader is silent for so long: suspended. */
  #expect(seconds) {
    this.#later("silence", seconds, () => this.#covered && !this.#leads && this.#catchUp());
  }

  #hear({ from, hello, bye, who, again, status, event, before }) {
    if (hello) this.#peers.set(from, hello);
    if (bye) this.#peers.delete(from);
    if (this.#leads && (hello || bye)) this.#later("gather", GATHER, () => this.#tend());
    if (who) this.#greet();
    if (again && this.#covered) this.#catchUp();
    if (!status && !event) return;
    this.#expect(status?.state === "paused" ? Infinity : 2 * this.#to.timeout);
    if (event && this.#covered) {
      const missing = (topic) => {
        const [here, there] = [this.#where[topic], before[topic]];
        return here !== there && there !== "" && !(seq(here) >= seq(there));
      };
      if (this.#topicsOf(before).some(missing)) this.#catchUp();
      else this.#accept(event, before);
    }
    this.#there = !event ? status.where : event.id ? positions(event.id) : before;
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
    return new Promise((resign) => (this.#resign = resign));
  }

  #share(line) {
    line.tell = (event, before) => this.#say({ event, before });
    line.changed = () => {
      const status = line.error?.status;
      if (line.state !== "closed" && (status !== 401 || this.#peers.size < 2)) return this.#tellStatus();
      // One tab's topics were refused, or all together: let each try its own.
      line.close();
      this.#shared = null;
      if (status === 400) this.#most = line.topics.length - 1;
      this.#peers.clear();
      this.#say({ again: true });
    };
    return (this.#shared = line);
  }

  #tellStatus() {
    this.#later("beat", this.#to.timeout, () => this.#tellStatus());
    const { state, error, latency, where } = this.#shared ?? { state: "paused", where: {} };
    this.#say({ status: { state, error, latency, where } });
  }

  #tend() {
    const peers = [...this.#peers.values()];
    let union = new Set();
    for (const { topics } of peers) {
      const wider = new Set([...union, ...topics]);
      if (wider.size <= this.#most) union = wider;
    }
    const topics = [...union].sort();
    const line = this.#shared ?? this.#share(new Line(this.#to, []));
    for (const { where } of peers) {
      for (const topic in where) if (this.#fixed || union.has(topic)) line.where[topic] ??= where[topic];
    }
    const same = String(topics) === String(line.topics);
    line.topics = topics;
    if (!peers.some(({ wanted }) => wanted)) line.close();
    else if (same) line.open();
    else line.reopen(true);
    this.#tellStatus();
  }

  /** Take an event, unless this tab has had it. `before`: where the shared line was. */
  #accept(event, before) {
    const { type } = event;
    const at = positions(event.id);
    const had = new Set();
    for (const topic in at) {
      const here = this.#where[topic];
      if (before && before[topic] !== here && !(seq(at[topic]) > seq(here))) had.add(topic);
      else if (this.#has(topic)) this.#where[topic] = at[topic];
    }
    if (!had.size) this.#lastId = event.lastEventId;
    if (type === "cursor") return;
    let data = parsed(event.data);
    let topic = event.topic ?? Object.keys(at)[0] ?? (this.topics[1] ? undefined : this.topics[0]);
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
      if (event.recovered) this.recovered++;
    }
    event.topic = topic;
    for (const { listener, ...wanted } of this.#listeners) {
      if (![type, "*"].includes(wanted.type) || (wanted.topic ?? topic) !== topic) continue;
      queueMicrotask(() => listener(data, event)); // if it fails, the others go on
    }
    if (event.final && !(before && data.reason === "revoked")) this.close({ message: "closed", ...data });
  }

  #show({ state, error, latency }) {
    const transport = !this.#covered ? "own" : this.#leads ? "leader" : "follower";
    if (state === "connecting" && this.state === "live") return;
    if (state === this.state && transport === this.transport) return;
    if (state === "waiting" && this.#lost === false) this.#lost = true;
    if (state === "live") {
      if (this.#lost) this.reconnects++;
      this.#lost = false;
    }
    Object.assign(this, { state, error, latency, transport });
    queueMicrotask(() => this.onstate?.(state, this));
  }
}

export function connect(address, options = {}) {
  return new Stream(address, options);
}
