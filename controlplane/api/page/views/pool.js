// A pool: its last hour, how its requests are parted, and its replicas.
import {BulkActions} from "../actions.js";
import {pathOf} from "../api.js";
import {begin, Chart} from "../chart.js";
import {about, counted, inMilliseconds, milliseconds, number, percent} from "../format.js";
import {html, useState} from "../html.js";
import {isOdd, load, Meter, Missing, rateOf, Reasons, stateOf, toneOf} from "../parts.js";
import {usePolled} from "../polled.js";
import {link} from "../route.js";
import {Table} from "../table.js";

const used = (it) => load(it.rate_rps, it.capacity);

const COLUMNS = [
  {id: "replica", title: "Replica", value: (it) => it.id, text: (it) => `${it.id} ${it.address}`},
  {id: "state", title: "State", value: stateOf, tone: toneOf},
  {id: "class", title: "Class", rank: 3, value: (it) => it.classes.join(", ") || null},
  {id: "tier", title: "Tier", rank: 3, value: (it) => it.tier},
  {id: "share", title: "Share", number: true, value: (it) => it.share, cell: (it) => html`<${Meter} part=${it.share} />`, hint: "Of the pool's traffic"},
  {id: "load", title: "Load / capacity", number: true, rank: 2, value: used, hint: "Requests per second, and how many it carries",
    cell: (it) => html`<${Meter} part=${used(it)} text=${rateOf(it.rate_rps, it.capacity)} near=${0.9} over=${1.1} />`},
  {id: "p50", title: "p50", number: true, rank: 3, value: (it) => it.p50_ms, cell: (it) => milliseconds(it.p50_ms)},
  {id: "p99", title: "p99", number: true, value: (it) => it.p99_ms, cell: (it) => milliseconds(it.p99_ms)},
  {id: "errors", title: "Errors", number: true, rank: 3, value: (it) => it.error_fraction, cell: (it) => percent(it.error_fraction), tone: (it) => (it.error_fraction > 0.01 ? "bad" : "")},
  {id: "flight", title: "In flight", number: true, rank: 2, value: (it) => it.in_flight, cell: (it) => about(it.in_flight)},
  {id: "queue", title: "Queue", number: true, rank: 3, value: (it) => it.queue, cell: (it) => about(it.queue), hint: "Waits inside of it"},
  {id: "memory", title: "GPU memory", number: true, rank: 3, value: (it) => it.memory, cell: (it) => html`<${Meter} part=${it.memory} near=${0.85} over=${0.92} />`},
];

const FILTERS = [
  {label: "with something odd", test: isOdd},
  {label: "ready", test: (it) => it.state === "ready"},
  {label: "unhealthy", test: (it) => it.state === "unhealthy"},
  {label: "gone", test: (it) => it.state === "gone"},
  {label: "draining", test: (it) => it.draining != null},
];

function requests(match) {
  if (!match) return "all others";
  const words = [];
  if (match.header) words.push(`with ${match.header.name}: ${match.header.value}`);
  if (match.prefix != null) words.push(`to ${match.prefix}`);
  if (match.min_bytes != null) words.push(`from ${number(match.min_bytes)} bytes on`);
  if (match.max_bytes != null) words.push(`of up to ${number(match.max_bytes)} bytes`);
  return words.join(" ");
}

const CLASSES = [
  {id: "class", title: "Class", value: (it) => it.name},
  {id: "requests", title: "Requests", value: (it) => requests(it.match)},
  {id: "work", title: "Of the work", number: true, value: (it) => it.part_of_work, cell: (it) => percent(it.part_of_work)},
  {id: "replicas", title: "Replicas", number: true, value: (it) => it.replicas.length},
  {id: "by", title: "Served first by", rank: 2, wide: true, value: (it) => it.replicas.join(", ") || null},
  {id: "routed", title: "By class", rank: 3, value: (it) => (it.routed ? "yes" : "not yet"), tone: (it) => (it.routed ? "" : "warn")},
];

const GAP = 45e3;

function Charts({name, objective}) {
  const known = usePolled(`${pathOf(name)}/history`, 10e3);
  const points = known.data?.points ?? [], to = known.data ? Date.parse(known.data.now) : Date.now();
  const line = (label, key, soft) => ({name: label, soft, points: points.map((it) => [Date.parse(it.at), it[key]])});
  const all = {from: begin(points.length ? Date.parse(points[0].at) : null, to), to, gap: GAP};
  return html`<section class="charts" aria-label="The last hour">
    <${Chart} ...${all} title="Traffic" series=${[line("requests", "rate_rps"), line("capacity", "capacity_rps", true)]} format=${(it) => number(it, "/s")} />
    <${Chart} ...${all} title="Latency" series=${[line("p99", "p99_ms"), line("p50", "p50_ms", true)]} format=${milliseconds} limit=${inMilliseconds(objective?.p99)} />
    <${Chart} ...${all} title="Waiting" series=${[line("in flight", "in_flight"), line("queue", "queue", true)]} format=${about} />
    <${Chart} ...${all} title="Errors" series=${[line("failed", "error_fraction")]} format=${percent} />
  </section>`;
}

export function PoolHead({name, pool, view}) {
  const tab = (title, to, is) => html`<a href=${to} aria-current=${is ? "page" : undefined}>${title}</a>`;
  return html`<p class="trail"><a href=${link()}>Fleet</a> /</p><h1>${name}</h1>
    ${pool && html`<p class="headline">${[pool.model, pool.policy_in_force ?? pool.balancing.policy, `${number(pool.counts.ready)} of ${counted(pool.counts.total, "replica")} ready`,
      ...["starting", "draining", "cut", "stale", "unhealthy", "gone"].filter((key) => pool.counts[key]).map((key) => `${number(pool.counts[key])} ${key}`),
      ...(pool.objective ? [`p99 of ${milliseconds(inMilliseconds(pool.objective.p99))} wanted`] : []), `declared by ${pool.source === "file" ? "the config file" : "the API"}`].join(" · ")}</p>`}
    <nav class="tabs" aria-label="Views of ${name}">${tab("Replicas", link("pools", name), view === "replicas")}
      ${tab("Configuration", link("pools", name, "config"), view === "config")}</nav>`;
}

export function Pool({name, me}) {
  const known = usePolled(pathOf(name)), pool = known.data;
  const [keys, set] = useState(new Set());
  const picks = me && me.role !== "read" && known.error?.status !== 404 ? {keys, set} : undefined;
  const gone = html`<${Missing} known=${known} what=${`The pool ${name}`} />`;
  if (!pool) return html`<${PoolHead} name=${name} view="replicas" />${gone}`;
  const reasons = [...pool.parting_reasons, ...pool.zone_reasons, ...pool.discovery.clashes];
  return html`<${PoolHead} name=${name} pool=${pool} view="replicas" />${gone}
    <div class=${known.error?.status === 404 ? "old" : ""}>
    ${pool.suspect && html`<div class="banner" role="alert">Most replicas cannot be scraped; the control plane may be at fault. Weights are frozen.</div>`}
    <${Charts} name=${name} objective=${pool.objective} />
    ${pool.parting && html`<${Table} id="classes" aside caption="Classes" columns=${CLASSES} rows=${pool.parting} keyOf=${(it) => it.name} />`}
    ${picks && pool.replicas.length > 1 && html`<${BulkActions} pool=${name} replicas=${pool.replicas} picks=${picks} />`}
    <${Table} id="replicas" caption="Replicas" columns=${COLUMNS} rows=${pool.replicas} keyOf=${(it) => it.id} filters=${FILTERS} picks=${picks}
      open=${(it) => link("pools", name, "replicas", it.id)} empty="No replicas yet: declare some, or let them register themselves." />
    <${Reasons} title="Why requests go where they go" sentences=${reasons} /></div>`;
}
