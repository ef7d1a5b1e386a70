// One replica: what it gets and why, what can be done with it, and its last hour.
import {Actions} from "../actions.js";
import {pathOf} from "../api.js";
import {begin, Chart} from "../chart.js";
import {about, clock, lasted, milliseconds, number, percent, place, UNKNOWN} from "../format.js";
import {html, useState} from "../html.js";
import {Missing, rateOf, Reasons, stateOf, toneOf} from "../parts.js";
import {usePolled} from "../polled.js";
import {link} from "../route.js";

const FEW = 20;

function facts(it) {
  const window = it.readings ?? it.load_reports ?? {}, gpus = [it.readings, it.joined].filter(Boolean).flatMap((each) => each.memory);
  return [
    ["Share", percent(it.share)], ["Load / capacity", `${rateOf(window.rate_rps, it.capacity)}/s`],
    ["Tokens", number(it.capacity_tokens, "/s")], ["Tier", it.tier ?? UNKNOWN], ["Weight", number(it.weight)],
    ["Classes", it.classes.join(", ") || UNKNOWN], ["p50", milliseconds(it.readings?.p50_ms)], ["p99", milliseconds(it.readings?.p99_ms)],
    ["Mean", milliseconds(window.latency_mean_ms)], ["Errors", percent(window.error_fraction)], ["In flight", about(it.in_flight ?? window.in_flight)],
    ["Queue", about(it.readings?.queue)], ["GPU memory", gpus.map((each) => percent(each.fraction)).join(", ") || UNKNOWN],
    ["Scraped", it.scrape.age_s == null ? "never" : `${lasted(it.scrape.age_s)} ago`], ["Zone", place(it.locality)],
    ["Declared by", it.found_by ?? it.source], ["Owner", it.owner ?? UNKNOWN], ["Lease", it.lease_left_s == null ? UNKNOWN : `${lasted(it.lease_left_s)} left`],
    ["Labels", Object.entries(it.labels).map((each) => each.join("=")).join(", ") || UNKNOWN],
  ];
}

function Charts({told}) {
  const to = Date.parse(told.now), read = (it) => it.readings ?? it.load_reports ?? {};
  const line = (label, value, soft) => ({name: label, soft, points: told.entries.map((it) => [Date.parse(it.at), value(it) ?? null])});
  const all = {from: begin(told.entries.length ? Date.parse(told.entries[0].at) : null, to), to};
  return html`<section class="charts" aria-label="The last hour">
    <${Chart} ...${all} title="Share" series=${[line("of the traffic", (it) => it.share)]} format=${percent} />
    <${Chart} ...${all} title="Load" series=${[line("requests", (it) => read(it).rate_rps), line("capacity", (it) => it.capacity, true)]} format=${(it) => number(it, "/s")} />
    <${Chart} ...${all} title="Latency" series=${[line("p99", (it) => read(it).p99_ms ?? read(it).latency_mean_ms), line("p50", (it) => read(it).p50_ms, true)]} format=${milliseconds} />
    <${Chart} ...${all} title="Waiting" series=${[line("in flight", (it) => it.in_flight ?? read(it).in_flight), line("queue", (it) => read(it).queue, true)]} format=${about} />
  </section>`;
}

function Timeline({told}) {
  const [all, setAll] = useState(false);
  const entries = [...told.entries].reverse().filter((it) => it.changes.length);
  return html`<section><div class="tools"><h2>Timeline</h2><span class="soft">the last hour, the newest first</span></div>
    ${entries.length ? html`<ol class="timeline">${(all ? entries : entries.slice(0, FEW)).map((it) => html`<li key=${it.at}><time datetime=${it.at} title=${it.at}>${clock(it.at)}</time>
      <div>${it.changes.map((each) => html`<p>${each}</p>`)}${it.left_out > 0 && html`<p class="soft">${it.left_out} similar entries before were not kept</p>`}</div></li>`)}</ol>${!all && entries.length > FEW && html`<button class="more" onClick=${() => setAll(true)}>All ${entries.length} entries</button>`}`
      : html`<p class="soft">nothing has changed</p>`}</section>`;
}

export function Replica({pool, id, me}) {
  const path = pathOf(pool, id), known = usePolled(path), history = usePolled(`${path}/history`, 5000), it = known.data;
  const gone = html`<${Missing} known=${known} what=${`The replica ${id}`} back=${link("pools", pool)} />`;
  return html`<p class="trail"><a href=${link()}>Fleet</a> / <a href=${link("pools", pool)}>${pool}</a> /</p>
    <div class="title"><h1>${id}</h1>${it && html`<span class="state ${toneOf(it)}">${stateOf(it, it.state_for_s == null ? "" : ` for ${lasted(it.state_for_s)}`)}</span>`}
      ${it && html`<code>${it.address}</code>`}</div>${gone}
    ${it && html`<div class=${known.error?.status === 404 ? "old" : ""}>
      ${known.error?.status !== 404 && html`<${Actions} me=${me} replica=${it} />`}
      <dl class="facts">${facts(it).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <${Reasons} title="Why it gets what it gets" sentences=${it.why} />
      ${it.readings?.note && html`<p class="warn">Its readings: ${it.readings.note}</p>`}
      ${history.data && html`<${Charts} told=${history.data} /><${Timeline} told=${history.data} />`}</div>`}`;
}
