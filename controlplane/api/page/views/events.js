// What happens, as it happens, and who changed what.
import {call} from "../api.js";
import {events, stream} from "../events.js";
import {clock, counted, kindOf} from "../format.js";
import {html, useEffect, useState} from "../html.js";
import {useValue} from "../observable.js";
import {stateOf, toneOf} from "../parts.js";
import {link} from "../route.js";
import {Table} from "../table.js";

function sentence({kind, data}) {
  if (kind === "replica") {
    if (data.change === "removed") return "removed";
    return `${data.change === "added" ? "added: " : ""}${stateOf(data)}${data.tier ? `, ${data.tier}` : ""}`;
  }
  if (kind === "pool") return data.change;
  if (kind === "parting") {
    const classes = Object.entries(data.classes).map(([name, count]) => `${name} by ${counted(count, "replica")}`).join(", ");
    return data.change === "ended" ? "requests are no longer parted" : `requests are parted: ${classes}`;
  }
  if (kind === "node") {
    if (data.change === "rejected") return `rejects ${kindOf(data.type_url)} ${data.names.join(", ")}: ${data.message}`;
    if (data.change === "refused") return `refused: ${data.reason}`;
    return data.change === "left" && data.reason ? `left: ${data.reason}` : data.change;
  }
  return data.detail ?? kind;
}

const about = ({kind, data}) => (kind === "replica" ? `${data.pool}/${data.id}` : data.pool ?? data.id ?? "events");

function tone({kind, data}) {
  if (kind === "node") return ["rejected", "refused"].includes(data.change) ? "bad" : "";
  return kind === "replica" && data.state ? toneOf(data) : "";
}

function open({kind, data}) {
  if (kind === "replica") return link("pools", data.pool, "replicas", data.id);
  if (kind === "node") return link("envoys", data.id);
  return data.pool ? link("pools", data.pool) : null;
}

const COLUMNS = [
  {id: "about", title: "What", value: about},
  {id: "at", title: "When", number: true, value: (it) => it.number, cell: (it) => clock(it.at), text: (it) => clock(it.at)},
  {id: "kind", title: "Kind", rank: 2, value: (it) => it.kind},
  {id: "words", title: "Event", wide: true, value: sentence, tone, tip: sentence},
];

export function Events() {
  const seen = useValue(events), now = useValue(stream);
  return html`<h1>Events</h1><p class="headline">${now.follows ? "As they happen, since this page was opened" : `Events do not come: ${now.reason}. This page tries again by itself.`}</p>
    <${Table} id="events" caption="Events" columns=${COLUMNS} rows=${seen} keyOf=${(it) => String(it.number)} open=${open} sort="at" descending=${true} empty="nothing has happened since this page was opened" />`;
}

function difference(entry) {
  const {before, after} = entry;
  if (!before || !after) return entry.change;
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
  const plain = (value) => (value === undefined ? "nothing" : JSON.stringify(value));
  return keys.map((key) => `${key}: ${plain(before[key])} → ${plain(after[key])}`).join("; ") || entry.change;
}

// The time alone today, else the date too.
function moment(at) {
  const then = new Date(at);
  return then.toDateString() === new Date().toDateString() ? clock(at) : then.toLocaleString("sv");
}

const AUDIT = [
  {id: "about", title: "What", value: (it) => (it.replica == null ? it.pool : `${it.pool}/${it.replica}`)},
  {id: "at", title: "When", number: true, value: (it) => it.number, text: (it) => it.at, tip: (it) => it.at,
    cell: (it) => moment(it.at)},
  {id: "who", title: "Who", value: (it) => it.who},
  {id: "change", title: "Change", wide: true, value: difference, tip: difference},
];

export function Audit({me}) {
  const [known, setKnown] = useState({entries: [], next: null, failure: ""}), may = me?.role === "operate", changed = useValue(events)[0]?.number;
  async function read(before) {
    try {
      const page = await call("GET", `v1/audit?limit=500${before ? `&before=${before}` : ""}`);
      setKnown((now) => ({...page, entries: before ? [...now.entries, ...page.entries] : page.entries, failure: ""}));
    } catch (error) {
      setKnown((now) => ({...now, failure: error.message}));
    }
  }
  useEffect(() => {
    if (may) read();
  }, [may, changed]);
  if (me && !may) return html`<h1>Audit</h1><div class="banner past" data-why-not>The ${me.kind} “${me.name}” has the role ${me.role}; to read who changed what takes the role operate.</div>`;
  return html`<h1>Audit</h1><p class="headline">Who changed what is declared; some thousand entries are kept, also over restarts</p>
    ${known.failure && html`<div class="banner" role="alert">${known.failure}</div>`}
    <${Table} id="audit" caption="Changes" columns=${AUDIT} rows=${known.entries} keyOf=${(it) => String(it.number)} sort="at" descending=${true}
      open=${(it) => (it.replica == null ? link("pools", it.pool) : link("pools", it.pool, "replicas", it.replica))}
      tools=${known.next && html`<button onClick=${() => read(known.next)}>Older</button>`} />`;
}
