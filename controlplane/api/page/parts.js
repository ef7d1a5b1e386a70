// Small things that several views show.
import {html} from "./html.js";
import {number, percent, UNKNOWN} from "./format.js";
import {link} from "./route.js";

// A part of a whole as a bar beside its figure; `over` from where on it is too much.
export function Meter({part, text, over = Infinity, near = Infinity}) {
  if (part == null) return text ?? UNKNOWN;
  const tone = part >= over ? "bad" : part >= near ? "warn" : "";
  return html`<span class="meter ${tone}"><span class="figure">${text ?? percent(part)}</span><span class="bar" aria-hidden="true"><i
    style=${{width: `${Math.min(100, Math.max(0, 100 * part)).toFixed(1)}%`}}></i></span></span>`;
}

export const load = (rate, capacity) => (rate == null || !capacity ? null : rate / capacity);

export const rateOf = (rate, capacity) => `${number(rate)} / ${number(capacity)}`;

export function stateOf(replica, since = "") {
  const words = [replica.state + since];
  if (replica.draining) words.push(replica.draining === "operator" ? "draining" : `draining (${replica.draining})`);
  if (replica.drained) words.push("cut");
  if (replica.stale) words.push("stale");
  return words.join(", ");
}

export function toneOf(replica) {
  if (["unhealthy", "gone"].includes(replica.state) || replica.drained) return "bad";
  return replica.state !== "ready" || replica.draining || replica.stale ? "warn" : "";
}

export const isOdd = (replica) => toneOf(replica) !== "";

// What a view shows in place of data that is not there, or no longer.
export function Missing({known, what, back}) {
  if (known.error?.status === 404) {
    const text = known.data
      ? html`<b>${what} is no longer there.</b> Below is what was known of it last. This page shows it again as soon as it is back.`
      : html`<b>${what} does not exist.</b> This page shows it as soon as it does.`;
    return html`<div class="banner" role="alert">${text} <a href=${back ?? link()}>Back</a></div>`;
  }
  if (known.error?.status >= 400 && known.error.status !== 401) return html`<div class="banner" role="alert">${known.error.message}</div>`;
  return known.data || known.error ? null : html`<p class="soft waiting">asking …</p>`;
}

export function Reasons({title, sentences}) {
  return sentences.length > 0 && html`<section class="reasons"><h2>${title}</h2><ul>${sentences.map((each) => html`<li>${each}</li>`)}</ul></section>`;
}
