/**
 * <sse-stream>: a page's connection, as an element. It dispatches each event that comes as a MessageEvent
 * of its name, as an EventSource does, and puts HTML where an element asks for it: data-sse-swap="name".
 */

import { connect } from "./stream.js";

const PLACES = { prepend: "afterbegin", append: "beforeend", before: "beforebegin", after: "afterend" };

class StreamElement extends HTMLElement {
  connectedCallback() {
    if (document.readyState === "complete") return this.#open();
    // All scripts of the page have run then: none of their listeners comes too late.
    for (const type of ["DOMContentLoaded", "load"]) addEventListener(type, () => this.#open(), { once: true });
  }

  disconnectedCallback() {
    this.stream?.close();
    this.stream = null;
  }

  #open() {
    if (this.stream || !this.isConnected) return;
    const [topics, cursor, key] = ["topics", "cursor", "key"].map((name) => this.getAttribute(name) ?? "");
    const begin = cursor ? { cursor } : {};
    this.stream = connect(this.getAttribute("src"), { topics: topics.split(/\s+/).filter(Boolean), key, ...begin });
    this.stream.on("*", (parsed, told) => this.#take(told));
    this.stream.onstate = (state) => this.setAttribute("state", state);
    this.setAttribute("state", this.stream.state);
    this.removeAttribute("cursor"); // it is of the moment at which the page was made
  }

  #take({ type, data, topic, lastEventId }) {
    const event = new MessageEvent(type, { data, lastEventId, origin: location.origin });
    event.topic = topic;
    this.dispatchEvent(event);
    for (const element of document.querySelectorAll(`[data-sse-swap~="${CSS.escape(type)}"]`)) {
      const place = PLACES[element.dataset.sseMode];
      if (place) element.insertAdjacentHTML(place, data);
      else element.innerHTML = data;
    }
  }
}

customElements.define("sse-stream", StreamElement);
