/**
 * <sse-notifications>: a user's notifications, live. What is unread is a set of ids, so that it does not
 * matter in which order, or how often, a page is told of what came and what was read.
 * The markup is that of sse_app/notifications.html; the names in data-sse are what this script needs of it.
 */

import { connect } from "./stream.js";

const MOST_KNOWN = 100; // ids that the server tells; beyond that it is asked again
const MOST_SHOWN = 99;
const SEEN = "sse-notifications";

class Notifications extends HTMLElement {
  #unread;
  #read = new Set(); // the news of one may come before itself
  #more = false; // unread ones that the server has not told
  #refreshing; // what comes meanwhile
  #stream;
  #life;

  connectedCallback() {
    if (document.readyState === "loading") {
      addEventListener("DOMContentLoaded", () => this.isConnected && this.#open(), { once: true });
    } else this.#open();
  }

  disconnectedCallback() {
    this.#life?.abort();
    this.#stream?.close();
  }

  get unread() {
    return this.#more ? Math.max(this.#unread.size, MOST_KNOWN) : this.#unread.size;
  }

  #open() {
    const { stream, topics, cursor, key, count, unread } = this.dataset;
    this.#life = new AbortController();
    if (!this.#unread) {
      this.#unread = this.#isAccount ? new Set(JSON.parse(unread)) : this.#remembered();
      this.#more = count > MOST_KNOWN;
    }
    this.#listen();
    this.#tellTimes();
    this.#show();
    this.dataset.live = "";
    if (!topics) return;
    delete this.dataset.cursor; // it is of the moment at which the page was made
    this.#stream = connect(stream, { topics: topics.split(" "), cursor, key });
    this.#stream.on("notification", (data) => this.#hear({ data }));
    this.#stream.on("notification-read", (data) => this.#hear({ ids: data?.ids }));
    for (const type of ["reset", "lagged"]) this.#stream.on(type, () => this.refresh());
  }

  #listen() {
    const on = (target, type, act) => target.addEventListener(type, act, { signal: this.#life.signal });
    on(this, "click", (event) => this.#click(event));
    on(this, "keydown", (event) => event.key === "Escape" && this.#fold(true));
    on(document, "click", ({ target }) => this.contains(target) || this.#fold(false));
    on(document, "visibilitychange", () => this.#tellTimes());
    if (!this.#isAccount) on(window, "storage", ({ key }) => key === SEEN && this.#recall());
    const timer = setInterval(() => this.#tellTimes(), 30_000);
    on(this.#life.signal, "abort", () => clearInterval(timer));
  }

  // What comes

  #hear(news) {
    this.#refreshing?.push(news);
    if ("data" in news) this.#add(news.data, true);
    else if (Array.isArray(news.ids)) this.#settle(news.ids);
    else this.refresh();
  }

  #add(fields, isNew) {
    if (!Number.isInteger(fields?.id)) return; // one that was only published, and is kept nowhere
    const known = this.#item(fields.id);
    const item = known ?? this.#made(fields);
    if (!known) this.#place(item);
    if (isNew ? !known && !this.#read.has(fields.id) : fields.read === false) this.#unread.add(fields.id);
    this.#show();
    if (!isNew || known) return;
    this.#put("status", `${this.dataset.arrived}: ${text(fields.title)}`);
    this.dispatchEvent(new CustomEvent("sse-notification", { bubbles: true, detail: fields }));
  }

  /** Take ids as read, as this page or another one of the user has said. */
  #settle(ids) {
    for (const id of ids) {
      this.#read.add(id);
      this.#unread.delete(id);
    }
    if (this.#more && this.#unread.size < MOST_KNOWN && this.#isAccount) this.refresh();
    this.#show();
  }

  /** Ask the server what there is; what comes meanwhile comes after it. */
  async refresh() {
    if (this.#refreshing || !this.#isAccount) return;
    this.#refreshing = [];
    try {
      const answer = await fetch(this.dataset.list, { signal: this.#life.signal });
      if (!answer.ok) return;
      const listed = await answer.json();
      this.#find("list").replaceChildren();
      this.#unread = new Set(listed.unread_ids);
      this.#more = listed.unread > MOST_KNOWN;
      this.#find("older").hidden = !listed.next;
      for (const fields of listed.notifications) this.#add(fields, false);
    } catch {
      return; // the next event brings the next try
    } finally {
      const meanwhile = this.#refreshing;
      this.#refreshing = null;
      meanwhile.forEach((news) => this.#hear(news));
      this.#show();
    }
  }

  // What the user does

  #click({ target }) {
    const part = target.closest("[data-sse]")?.dataset.sse;
    const id = Number(target.closest("li")?.dataset.id);
    if (part === "read-all") this.#mark(null);
    else if (part === "older") this.#older(target);
    else if (part === "mark" || (part === "title" && target.href)) this.#mark([id]);
  }

  async #mark(ids) {
    const marked = (ids ?? [...this.#unread]).filter((id) => this.#unread.has(id));
    if (!marked.length) return;
    this.#keepFocus();
    const more = this.#more;
    if (!ids) this.#more = false;
    this.#settle(marked);
    if (!this.#isAccount) return this.#remember();
    const failed = await this.#post(ids || !more ? { ids: marked } : { all: true });
    if (!failed) return;
    for (const id of marked) {
      this.#read.delete(id);
      this.#unread.add(id);
    }
    this.#more = more;
    this.#show();
    this.#put("status", this.dataset.failed);
  }

  async #post(body) {
    try {
      const answer = await fetch(this.dataset.read, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRFToken": this.dataset.csrf },
        body: JSON.stringify(body),
        keepalive: true, // a click on a link leaves the page
      });
      return !answer.ok;
    } catch {
      return true;
    }
  }

  async #older(button) {
    const list = this.#find("list");
    const oldest = list.lastElementChild;
    button.disabled = true;
    try {
      const answer = await fetch(`${this.dataset.list}?before=${oldest.dataset.id}`);
      const { notifications, next } = await answer.json();
      for (const fields of notifications) this.#add(fields, false);
      if (!next) list.focus({ preventScroll: true }); // this button goes
      button.hidden = !next;
    } catch {
      this.#put("status", this.dataset.failed);
    }
    button.disabled = false;
  }

  #fold(keepFocus) {
    const details = this.querySelector("details");
    if (!details?.open) return;
    details.open = false;
    if (keepFocus) details.firstElementChild.focus();
  }

  /** The button that has the focus goes: one that uses the keyboard goes on from its item. */
  #keepFocus() {
    const button = document.activeElement?.closest("[data-sse=mark], [data-sse=read-all]");
    if (!button || !this.contains(button)) return;
    const place = button.closest("li") ?? this.#find("list");
    place.tabIndex = place.matches("li") ? -1 : 0;
    place.focus({ preventScroll: true });
  }

  // A visitor has no account: the browser remembers.

  get #isAccount() {
    return "read" in this.dataset;
  }

  #remembered() {
    const ids = this.#ids();
    try {
      const { newest, unread } = JSON.parse(localStorage[SEEN]);
      return new Set(ids.filter((id) => id > newest || unread.includes(id)));
    } catch {
      queueMicrotask(() => this.#remember()); // the first visit: nothing here is news
      return new Set();
    }
  }

  #remember() {
    const kept = { newest: Math.max(0, ...this.#ids()), unread: [...this.#unread] };
    try {
      localStorage[SEEN] = JSON.stringify(kept);
    } catch {} // it may be blocked
  }

  #recall() {
    this.#unread = this.#remembered();
    this.#show();
  }

  // What is seen

  #find(name) {
    return this.querySelector(`[data-sse="${name}"]`);
  }

  #put(name, value) {
    this.#find(name).textContent = value;
  }

  #ids() {
    return [...this.#find("list").children].map((item) => Number(item.dataset.id));
  }

  #item(id) {
    return this.#find("list").querySelector(`[data-id="${id}"]`);
  }

  #made(fields) {
    const item = this.querySelector("template").content.firstElementChild.cloneNode(true);
    const put = (name, value) => (item.querySelector(`[data-sse="${name}"]`).textContent = text(value));
    item.dataset.id = fields.id;
    item.dataset.level = text(fields.level);
    for (const name of ["title", "body", "sender"]) put(name, fields[name]);
    put("level", JSON.parse(this.dataset.levels)[fields.level] ?? fields.level);
    if (/^(\/(?![/\\])|https?:\/\/)/i.test(fields.url)) item.querySelector("a").href = fields.url;
    item.querySelector("time").dateTime = text(fields.timestamp);
    this.#tellTime(item.querySelector("time"));
    return item;
  }

  #place(item) {
    const older = [...this.#find("list").children].find((other) => Number(other.dataset.id) < item.dataset.id);
    this.#find("list").insertBefore(item, older ?? null);
  }

  #show() {
    const { unread } = this;
    for (const item of this.#find("list").children) {
      item.toggleAttribute("data-unread", this.#unread.has(Number(item.dataset.id)));
    }
    this.#put("number", unread > MOST_SHOWN ? `${MOST_SHOWN}+` : unread);
    for (const name of ["count", "read-all"]) this.#find(name).hidden = !unread;
    if (Number(this.dataset.shown) === unread) return;
    this.dataset.shown = unread;
    this.dispatchEvent(new CustomEvent("sse-unread", { bubbles: true, detail: unread }));
  }

  #tellTimes() {
    this.querySelectorAll("time").forEach((time) => this.#tellTime(time));
  }

  #tellTime(time) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) return;
    const lang = this.closest("[lang]")?.lang || undefined;
    const minutes = Math.max(0, Math.floor((Date.now() - moment) / 60_000)); // clocks differ a little
    const ago = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
    time.title = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" }).format(moment);
    if (minutes < 1) time.textContent = ago.format(0, "second");
    else if (minutes < 60) time.textContent = ago.format(-minutes, "minute");
    else if (minutes < 24 * 60) time.textContent = ago.format(-Math.floor(minutes / 60), "hour");
    else time.textContent = time.title;
  }
}

function text(value) {
  return typeof value === "string" || Number.isFinite(value) ? String(value) : "";
}

customElements.define("sse-notifications", Notifications);
