// The fleet: what needs somebody, and one line for each pool.
import {counted, inMilliseconds, kindOf, lasted, milliseconds, number, percent} from "../format.js";
import {html} from "../html.js";
import {load, Meter, Missing} from "../parts.js";
import {usePolled} from "../polled.js";
import {link} from "../route.js";
import {Table} from "../table.js";

const wanted = (pool) => inMilliseconds(pool.objective?.p99);
const used = (pool) => load(pool.traffic.rate_rps, pool.traffic.capacity_rps);
const left = (pool) => (used(pool) == null ? null : Math.max(0, pool.traffic.capacity_rps - pool.traffic.rate_rps));
const misses = (pool) => wanted(pool) != null && pool.traffic.p99_ms > wanted(pool);

const NOTES = [["gone", "gone"], ["unhealthy", "unhealthy"], ["starting", "starting"], ["draining", "draining"], ["cut", "cut"], ["stale", "stale"]];

function notes(pool) {
  const found = NOTES.filter(([key]) => pool.counts[key]).map(([key, word]) => `${number(pool.counts[key])} ${word}`);
  if (pool.suspect) found.push("weights frozen");
  if (pool.discovery.sources.some((each) => each.failing)) found.push("a source fails");
  return found.join(", ");
}

const COLUMNS = [
  {id: "pool", title: "Pool", value: (it) => it.name, text: (it) => `${it.name} ${it.model} ${notes(it)}`},
  {id: "ready", title: "Ready", number: true, value: (it) => it.counts.ready, cell: (it) => `${number(it.counts.ready)} of ${number(it.counts.total)}`,
    tone: (it) => (it.counts.ready < it.counts.total ? "warn" : ""), hint: "Replicas that serve, of all"},
  {id: "traffic", title: "Traffic", number: true, value: (it) => it.traffic.rate_rps, cell: (it) => number(it.traffic.rate_rps, "/s"), hint: "Requests per second"},
  {id: "p50", title: "p50", number: true, rank: 3, value: (it) => it.traffic.p50_ms, cell: (it) => milliseconds(it.traffic.p50_ms)},
  {id: "p99", title: "p99", number: true, value: (it) => it.traffic.p99_ms, cell: (it) => milliseconds(it.traffic.p99_ms), tone: (it) => (misses(it) ? "bad" : "")},
  {id: "objective", title: "Objective", number: true, rank: 2, value: wanted, cell: (it) => milliseconds(wanted(it)), hint: "The p99 that is wanted"},
  {id: "errors", title: "Errors", number: true, rank: 2, value: (it) => it.traffic.error_fraction, cell: (it) => percent(it.traffic.error_fraction),
    tone: (it) => (it.traffic.error_fraction > 0.01 ? "bad" : "")},
  {id: "used", title: "Used", number: true, value: used, cell: (it) => html`<${Meter} part=${used(it)} near=${0.8} over=${0.95} />`, hint: "Of the capacity of the replicas that serve"},
  {id: "left", title: "Left", number: true, rank: 2, value: left, cell: (it) => number(left(it), "/s"), hint: "Requests per second that could come on top"},
  {id: "notes", title: "Notes", rank: 3, wide: true, value: notes, tone: (it) => (it.counts.gone || it.counts.unhealthy || it.counts.cut || it.suspect ? "bad" : "warn")},
];

const FILTERS = [
  {label: "with something odd", test: (it) => notes(it) !== "" || misses(it)},
  {label: "over the objective", test: misses},
];

function alarms(pools, nodes, refused) {
  const found = [];
  const say = (words, ...to) => found.push({words, to: link(...to)});
  for (const pool of pools) {
    const at = ["pools", pool.name];
    if (misses(pool)) say(`${pool.name}: p99 is ${milliseconds(pool.traffic.p99_ms)} where ${milliseconds(wanted(pool))} is wanted.`, ...at);
    if (used(pool) > 0.95) say(`${pool.name}: no capacity is left.`, ...at);
    if (pool.suspect) say(`${pool.name}: most replicas cannot be scraped; weights are frozen.`, ...at);
    if (pool.counts.total && !pool.counts.ready) say(`${pool.name}: no replica is ready.`, ...at);
    if (pool.counts.gone) say(`${pool.name}: ${counted(pool.counts.gone, "replica")} gone.`, ...at);
    if (pool.counts.cut) say(`${pool.name}: ${counted(pool.counts.cut, "replica")} cut, for GPU memory or errors.`, ...at);
    for (const source of pool.discovery.sources) if (source.failing) say(`${pool.name}: ${source.name} fails: ${source.problem ?? "no answer"}`, ...at);
    if (pool.discovery.withheld.length) say(`${pool.name}: ${counted(pool.discovery.withheld.length, "replica")} kept that no source has any more.`, ...at);
  }
  for (const node of nodes) {
    const type = node.types.find((each) => each.refused.length);
    if (type) say(`${node.id} rejects ${kindOf(type.type_url)} ${type.refused.join(", ")}: ${type.last_rejection?.message ?? ""}`, "envoys", node.id);
    if (node.disagrees.length) say(`${node.id} sees the health of ${counted(node.disagrees.length, "replica")} otherwise.`, "envoys", node.id);
  }
  for (const it of refused) say(`${it.id} was refused ${lasted(it.age_s)} ago: ${it.reason}`, "envoys");
  return found;
}

export function Fleet() {
  const known = usePolled("v1/pools?replicas=false"), envoys = usePolled("v1/nodes");
  if (!known.data) return html`<${Missing} known=${known} what="The fleet" />`;
  const {pools} = known.data, {nodes = [], refused = []} = envoys.data ?? {};
  const sum = (key) => pools.reduce((total, pool) => total + (pool.counts?.[key] ?? 0), 0);
  const rate = pools.reduce((total, pool) => total + (pool.traffic.rate_rps ?? 0), 0);
  const late = nodes.filter((each) => !each.in_sync).length;
  const found = alarms(pools, nodes, refused);
  return html`<h1>Fleet</h1>
    <p class="headline">${counted(pools.length, "pool")} · ${number(sum("ready"))} of ${counted(sum("total"), "replica")} ready · ${number(rate, " requests/s")} · ${envoys.data
      ? nodes.length ? `${counted(nodes.length, "Envoy")}, ${late ? `${late} not in sync` : "all in sync"}` : "no Envoy is connected" : "asking for Envoys"}</p>
    ${found.length > 0 && html`<section class="alarms" aria-label="What needs attention"><ul>${found.slice(0, 12).map((each) => html`<li><a href=${each.to}>${each.words}</a></li>`)}
      ${found.length > 12 && html`<li class="soft">and ${found.length - 12} more</li>`}</ul></section>`}
    <${Table} id="pools" caption="Pools" columns=${COLUMNS} rows=${pools} keyOf=${(it) => it.name} open=${(it) => link("pools", it.name)} filters=${FILTERS}
      empty="No pools yet: declare one in the config file, or PUT /v1/pools/NAME." />`;
}
