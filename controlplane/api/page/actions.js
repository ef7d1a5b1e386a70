// What can be done with a replica, as far as the sender's role lets it.
import {call, pathOf} from "./api.js";
import {ask} from "./dialog.js";
import {counted, number} from "./format.js";
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

// So many requests to the API at a time.
const AT_ONCE = 8;
const NAMED = 6;

// Do the same with several replicas; who is refused stays selected, and is named with the reason.
async function actOnEach(replicas, rest, keep) {
  const refused = [], left = [...replicas];
  await Promise.all(Array.from({length: AT_ONCE}, async () => {
    for (let replica = left.shift(); replica; replica = left.shift()) {
      try {
        await act("POST", replica, rest);
      } catch (error) {
        refused.push([replica.id, error.message]);
      }
    }
  }));
  keep(new Set(refused.map(([id]) => id)));
  if (!refused.length) return;
  const why = refused.slice(0, NAMED).map(([id, words]) => `${id}: ${words}`).join(" ");
  throw new Error(`${refused.length} of ${counted(replicas.length, "replica")} refused. ${why}${refused.length > NAMED ? ` And ${refused.length - NAMED} more.` : ""}`);
}

const named = (replicas) => replicas.slice(0, NAMED).map((each) => each.id).join(", ") + (replicas.length > NAMED ? ` and ${number(replicas.length - NAMED)} more` : "");

const serves = (replica) => replica.state === "ready" && replica.draining == null && !replica.drained;

// pool: its name; replicas: all of it; picks: which of them are selected.
export function BulkActions({pool, replicas, picks}) {
  const chosen = replicas.filter((each) => picks.keys.has(each.id)).map((each) => ({...each, pool}));
  const drained = chosen.filter((each) => each.draining === "operator"), others = chosen.filter((each) => each.draining !== "operator");
  if (!chosen.length) return html`<p class="soft hint">Select replicas to drain or undrain several at once.</p>`;
  function drainAll() {
    const isLast = !replicas.some((each) => serves(each) && !picks.keys.has(each.id));
    const flight = others.reduce((total, each) => total + (each.in_flight ?? 0), 0);
    ask({
      title: `Drain ${counted(others.length, "replica")}?`,
      text: `${named(others)}. They get no new requests; what is in flight finishes: ${counted(Math.round(flight), "request")} now.${isLast ? " No other replica of the pool serves." : ""}`,
      button: "Drain",
      async act() {
        await actOnEach(others, "/drain", picks.set);
        return `${counted(others.length, "replica")} drained.`;
      },
    });
  }
  function undrainAll() {
    ask({
      title: `Undrain ${counted(drained.length, "replica")}?`,
      text: `${named(drained)}. They get requests again, a few at first.`,
      button: "Undrain",
      async act() {
        await actOnEach(drained, "/undrain", picks.set);
        return `${counted(drained.length, "replica")} undrained.`;
      },
    });
  }
  return html`<div class="actions bulk" role="group" aria-label="Actions on the selected replicas"><span aria-live="polite">${number(chosen.length)} selected</span>
    ${others.length > 0 && html`<button onClick=${drainAll}>Drain ${number(others.length)}…</button>`}
    ${drained.length > 0 && html`<button onClick=${undrainAll}>Undrain ${number(drained.length)}…</button>`}
    <button onClick=${() => picks.set(new Set())}>Clear</button></div>`;
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
