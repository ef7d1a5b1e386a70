// What can be done with a replica, as far as the sender's role lets it.
import {call, pathOf} from "./api.js";
import {ask} from "./dialog.js";
import {counted} from "./format.js";
import {html} from "./html.js";

// Why the sender may not change a replica; empty where it may.
export function whyNot(me, replica) {
  if (!me) return "It is not known yet who you are.";
  const who = `The ${me.kind} “${me.name}” has the role ${me.role}`;
  if (me.role === "operate") return "";
  if (me.role === "read") return `${who}: it may look, and change nothing. To drain or remove takes operate, or register for the replicas that it registered.`;
  if (replica.owner === me.name) return "";
  return `${who}: it may change only the replicas that it registered; this one was registered by ${replica.owner ? `“${replica.owner}”` : "nobody"}.`;
}

const act = (method, replica, rest = "") => call(method, `${pathOf(replica.pool, replica.id)}${rest}`);

function drain(replica) {
  ask({
    title: `Drain ${replica.id}?`,
    text: `It gets no new requests; what is in flight finishes. It has ${replica.in_flight == null ? "an unknown number of" : Math.round(replica.in_flight)} requests in flight now.`,
    button: "Drain",
    async act() {
      const now = await act("POST", replica, "/drain");
      return `${replica.id} is drained; ${now.in_flight == null ? "nobody says what is" : counted(Math.round(now.in_flight), "request")} still in flight.`;
    },
  });
}

function undrain(replica) {
  ask({
    title: `Undrain ${replica.id}?`,
    text: "It gets requests again, a few at first.",
    button: "Undrain",
    async act() {
      await act("POST", replica, "/undrain");
      return `${replica.id} gets requests again.`;
    },
  });
}

function remove(replica) {
  ask({
    title: `Remove ${replica.id}?`,
    text: replica.source === "api"
      ? "Envoys forget it at once; requests in flight finish. Drain it first, and wait until nothing is in flight."
      : `It is declared by ${replica.source === "file" ? "the config file" : "a source of discovery"}: only what was put over that is removed.`,
    option: "Force: also where half of the pool was removed in the last ten seconds",
    button: "Remove",
    async act(force) {
      await act("DELETE", replica, force ? "?force=true" : "");
      return `${replica.id} is removed.`;
    },
  });
}

export function Actions({me, replica}) {
  const why = whyNot(me, replica);
  if (why) return html`<p class="soft actions" data-why-not>${why}</p>`;
  return html`<div class="actions" role="group" aria-label=${`Actions on ${replica.id}`}>
    ${replica.draining
      ? html`<button onClick=${() => undrain(replica)}>Undrain…</button>`
      : html`<button onClick=${() => drain(replica)}>Drain…</button>`}
    <button onClick=${() => remove(replica)}>Remove…</button></div>`;
}
