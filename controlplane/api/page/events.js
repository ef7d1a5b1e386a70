// The event stream: read with fetch, because an EventSource cannot send a token.
import {headers, refuse, session, tokenInUse} from "./api.js";
import {observable} from "./observable.js";
import {lookAgain} from "./polled.js";

const SILENCE_MS = 40e3;  // The server sends a comment every 15 s.
const SHORTEST_MS = 1000, LONGEST_MS = 10e3;
const KEPT = 1000;

// follows: events come; reason: why they do not.
export const stream = observable({follows: false, reason: "connecting"});
// The newest first: {number, at, kind, data}.
export const events = observable([]);

let last = null, number = 0;

export async function followEvents() {
  let wait = SHORTEST_MS;
  for (;;) {
    if (session.get().needed) {
      stream.set({follows: false, reason: "a token is needed"});
      await new Promise((resolve) => {
        const off = session.follow((now) => now.needed || (off(), resolve()));
      });
    }
    const begun = performance.now();
    try {
      await follow();
      stream.set({follows: false, reason: "the stream has ended"});
    } catch (error) {
      stream.set({follows: false, reason: error.message || "the stream is cut"});
    }
    wait = performance.now() - begun > LONGEST_MS ? SHORTEST_MS : Math.min(2 * wait, LONGEST_MS);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function follow() {
  const asked = tokenInUse(), giveUp = new AbortController();
  let silence = setTimeout(() => giveUp.abort(), SILENCE_MS);
  try {
    const more = last === null ? {} : {"Last-Event-ID": last};
    const answer = await fetch("v1/events", {headers: headers(more), cache: "no-store", signal: giveUp.signal});
    if (!answer.ok) {
      const problem = await answer.json();
      if (answer.status === 401) refuse(problem.detail, asked);
      throw new Error(problem.detail);
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      // Another token was given: these events are of the one before.
      if (tokenInUse() !== asked) return;
      clearTimeout(silence);
      silence = setTimeout(() => giveUp.abort(), SILENCE_MS);
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      take(parts);
      if (!stream.get().follows) stream.set({follows: true, reason: ""});
    }
  } catch (error) {
    if (giveUp.signal.aborted) throw new Error("the stream is silent");
    throw error instanceof TypeError ? new Error("the control plane does not answer") : error;
  } finally {
    clearTimeout(silence);
    giveUp.abort();
  }
}

function take(parts) {
  const found = [];
  for (const part of parts) {
    const fields = Object.fromEntries(part.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 2)]));
    if (fields.id) last = fields.id;
    // `state` is what the views ask for themselves.
    if (fields.event === "state") lookAgain();
    else if (fields.event) found.unshift({number: ++number, at: Date.now(), kind: fields.event, data: JSON.parse(fields.data)});
  }
  if (!found.length) return;
  events.set([...found, ...events.get()].slice(0, KEPT));
  lookAgain();
}
