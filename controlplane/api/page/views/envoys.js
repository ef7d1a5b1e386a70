// The connected Envoys: what each holds, has rejected, and sends.
import {counted, kindOf, lasted, number, place, UNKNOWN} from "../format.js";
import {html} from "../html.js";
import {Missing} from "../parts.js";
import {usePolled} from "../polled.js";
import {link} from "../route.js";
import {Table} from "../table.js";

const sum = (values) => values.reduce((total, each) => total + each, 0);
const reports = (node) => Object.keys(node.sends).length > 0;
const sends = (node) => (reports(node) ? sum(Object.values(node.sends)) : null);
const rejected = (node) => sum(node.types.map((each) => each.refused.length));
const trouble = (node) => node.types.map((each) => each.last_rejection).filter(Boolean).sort((one, other) => one.age_s - other.age_s)[0];

function held(node) {
  const words = node.types.filter((each) => each.held).map((each) => counted(each.held, SHORT[kindOf(each.type_url)] ?? kindOf(each.type_url)));
  return words.join(", ") || "nothing yet";
}

const SHORT = {Cluster: "cluster", ClusterLoadAssignment: "assignment", Listener: "listener", RouteConfiguration: "route", Secret: "secret"};

const COLUMNS = [
  {id: "node", title: "Node", value: (it) => it.id},
  {id: "sync", title: "State", value: (it) => (rejected(it) ? "rejects" : it.in_sync ? "in sync" : "waits"), tone: (it) => (rejected(it) ? "bad" : it.in_sync ? "" : "warn")},
  {id: "zone", title: "Zone", rank: 3, value: (it) => place(it.locality)},
  {id: "version", title: "Version", rank: 3, value: (it) => it.version},
  {id: "connected", title: "Connected", number: true, rank: 2, value: (it) => it.connected_s, cell: (it) => lasted(it.connected_s)},
  {id: "holds", title: "Holds", rank: 3, value: held},
  {id: "rejected", title: "Rejected", number: true, rank: 2, value: rejected, tone: (it) => (rejected(it) ? "bad" : "")},
  {id: "sends", title: "Sends", number: true, value: sends, cell: (it) => number(sends(it), "/s"), hint: "Requests per second, by its load reports"},
  {id: "health", title: "Sees otherwise", number: true, rank: 3, value: (it) => it.disagrees.length, tone: (it) => (it.disagrees.length ? "warn" : ""), hint: "Replicas whose health it sees otherwise than the control plane"},
  {id: "last", title: "Last rejection", rank: 3, wide: true, value: (it) => trouble(it)?.message ?? null, tip: (it) => trouble(it)?.message},
];

const FILTERS = [{label: "not in sync", test: (it) => !it.in_sync}, {label: "that see health otherwise", test: (it) => it.disagrees.length > 0}];

const REFUSED = [
  {id: "node", title: "Node", value: (it) => it.id},
  {id: "peer", title: "From", rank: 2, value: (it) => it.peer},
  {id: "age", title: "Ago", number: true, value: (it) => it.age_s, cell: (it) => lasted(it.age_s)},
  {id: "reason", title: "Why", wide: true, value: (it) => it.reason},
];

export function Envoys() {
  const known = usePolled("v1/nodes");
  if (!known.data) return html`<h1>Envoys</h1><${Missing} known=${known} what="The list" />`;
  const {nodes, refused} = known.data, late = nodes.filter((each) => !each.in_sync).length;
  return html`<h1>Envoys</h1><p class="headline">${nodes.length ? `${counted(nodes.length, "Envoy")} connected · ${late ? `${late} not in sync` : "all in sync"}` : "no Envoy is connected"}</p>
    <${Table} id="envoys" caption="Connected" columns=${COLUMNS} rows=${nodes} keyOf=${(it) => it.id} open=${(it) => link("envoys", it.id)} filters=${FILTERS} empty="No Envoy is connected." />
    ${refused.length > 0 && html`<${Table} id="refused" aside caption="Refused" columns=${REFUSED} rows=${refused} keyOf=${(it) => `${it.id} ${it.peer}`} />`}`;
}

const TYPES = [
  {id: "type", title: "Type", value: (it) => kindOf(it.type_url)},
  {id: "held", title: "Holds", number: true, value: (it) => it.held},
  {id: "state", title: "State", value: (it) => (it.refused.length ? "rejects" : it.in_sync ? "in sync" : "waits for its answer"), tone: (it) => (it.refused.length ? "bad" : it.in_sync ? "" : "warn")},
  {id: "sent", title: "Sent", rank: 2, value: (it) => it.sent_age_s, cell: (it) => (it.sent == null ? UNKNOWN : `${it.sent}, ${lasted(it.sent_age_s)} ago`)},
  {id: "acked", title: "Acknowledged", rank: 2, value: (it) => it.acknowledged_age_s, cell: (it) => (it.acknowledged == null ? UNKNOWN : `${it.acknowledged}, ${lasted(it.acknowledged_age_s)} ago`)},
  {id: "asks", title: "Asks for", rank: 3, number: true, value: (it) => it.subscribed, cell: (it) => (it.wildcard ? "all" : number(it.subscribed))},
  {id: "rejected", title: "Rejected", rank: 3, wide: true, value: (it) => it.refused.join(", ") || null, tone: (it) => (it.refused.length ? "bad" : "")},
];

const SENDS = [
  {id: "pool", title: "Pool", value: ([pool]) => pool},
  {id: "rate", title: "Requests", number: true, value: ([, rate]) => rate, cell: ([, rate]) => number(rate, "/s")},
];

const HEALTH = [
  {id: "replica", title: "Replica", value: (it) => `${it.pool}/${it.replica}`},
  {id: "sees", title: "It sees", value: (it) => it.sees, tone: () => "warn"},
  {id: "for", title: "For", number: true, value: (it) => it.for_s, cell: (it) => lasted(it.for_s)},
];

export function Envoy({id}) {
  const known = usePolled("v1/nodes"), node = known.data?.nodes.find((each) => each.id === id);
  const head = html`<p class="trail"><a href=${link("envoys")}>Envoys</a> /</p><h1>${id}</h1>`;
  if (!known.data) return html`${head}<${Missing} known=${known} what="The list" />`;
  if (!node) return html`${head}<div class="banner" role="alert"><b>${id} is not connected.</b> It goes on with what it has; this page shows it again once it is back.</div>`;
  return html`${head}<p class="headline">${[node.user_agent, node.version, node.cluster, place(node.locality), `connected for ${lasted(node.connected_s)}`, node.identity].filter((each) => each && each !== UNKNOWN).join(" · ")}</p>
    ${node.types.filter((each) => each.last_rejection).map((each) => html`<div class=${each.refused.length ? "banner" : "banner past"}>${each.refused.length ? "Rejects" : "Rejected"}
      ${kindOf(each.type_url)} ${each.last_rejection.names.join(", ")}, ${lasted(each.last_rejection.age_s)} ago: <code>${each.last_rejection.message}</code></div>`)}
    <${Table} id="types" aside caption="What it holds" columns=${TYPES} rows=${node.types} keyOf=${(it) => it.type_url} />
    <${Table} id="sends" narrow caption="What it sends" columns=${SENDS} rows=${Object.entries(node.sends)} keyOf=${([pool]) => pool} open=${([pool]) => link("pools", pool)} empty="it reports no requests" />
    ${node.disagrees.length > 0 && html`<${Table} id="health" aside narrow caption="Health that it sees otherwise" columns=${HEALTH} rows=${node.disagrees} keyOf=${(it) => `${it.pool}/${it.replica}`}
      open=${(it) => link("pools", it.pool, "replicas", it.replica)} />`}`;
}
