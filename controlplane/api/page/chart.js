// The last hour as lines: one figure, its present value in the caption, what it was under the pointer.
import {html, useRef, useState} from "./html.js";
import {clock} from "./format.js";

const WIDTH = 600, HEIGHT = 100;

const HOUR = 3600e3, SHORTEST = 600e3;

// From where on a chart is drawn: an hour, or as far back as anything is known.
export const begin = (first, to) => Math.min(Math.max(to - HOUR, first ?? to), to - SHORTEST);

// Two significant digits upwards, so that the scale stands still while values move a little.
function rounded(most) {
  if (!(most > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((each) => each * unit).find((each) => each >= most * 1.02) ?? 10 * unit;
}

/* title: of the figure. series: [{name, points: [[milliseconds, value or null]], soft}], the first is
   the one that counts. format: of a value. limit: a value that is not to be passed. gap: milliseconds
   between two points from which on nothing is known between them; without it a value holds until the
   next one. */
export function Chart({title, series, format, limit, from, to, gap}) {
  const [at, setAt] = useState(null);
  const drawing = useRef(null);
  const inTime = series.map((each) => ({...each, points: each.points.filter(([when]) => when >= from && when <= to)}));
  const values = inTime.flatMap((each) => each.points.map(([, value]) => value)).filter((value) => value != null);
  const most = rounded(Math.max(...values, limit != null && values.length ? limit * 1.1 : 0));
  const x = (when) => (WIDTH * (when - from)) / (to - from);
  const y = (value) => HEIGHT * (1 - value / most);
  const [main] = inTime;
  const known = main.points.filter(([, value]) => value != null);
  const highest = known.length ? Math.max(...known.map(([, value]) => value)) : null;
  const when = at === null ? null : from + at * (to - from);
  const shown = when === null ? inTime.map((each) => each.points.at(-1)) : inTime.map((each) => nearest(each.points, when, gap));

  function point(event) {
    const box = drawing.current.getBoundingClientRect();
    setAt(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
  }

  const words = shown.map((each, index) => html`<span class=${inTime[index].soft ? "soft" : ""}>${inTime[index].name} <b>${format(each?.[1])}</b></span>`);
  const label = known.length ? `${title}, last hour: ${main.name} now ${format(known.at(-1)[1])}, at most ${format(highest)}` : `${title}: nothing is known yet`;
  return html`<figure class="chart"><figcaption><span class="title">${title}</span><span class="soft when">${when === null ? "" : clock(when)}</span><span class="values">${words}</span></figcaption>
    <div class="drawing"><svg ref=${drawing} viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${label}
      onPointerMove=${point} onPointerLeave=${() => setAt(null)}>
      ${[0, 0.5, 1].map((part) => html`<line class="grid" x1="0" x2=${WIDTH} y1=${HEIGHT * part} y2=${HEIGHT * part} />`)}
      ${limit != null && html`<line class="limit" x1="0" x2=${WIDTH} y1=${y(limit)} y2=${y(limit)} />`}
      ${[...inTime].reverse().map((each) => html`<path class=${each.soft ? "line second" : "line"} d=${drawn(each.points, x, y, gap, to)} />`)}
      ${when !== null && html`<line class="cross" x1=${x(when)} x2=${x(when)} y1="0" y2=${HEIGHT} />`}
    </svg><span class="most soft">${values.length ? format(most) : ""}</span></div>
    <div class="times soft"><span>${clock(from).slice(0, 5)}</span><span>now</span></div></figure>`;
}

function nearest(points, when, gap) {
  const before = points.filter(([at]) => at <= when).at(-1);
  return before && (!gap || when - before[0] <= gap) ? before : null;
}

function drawn(points, x, y, gap, to) {
  let path = "", earlier = null;
  for (const [when, value] of points) {
    const goesOn = earlier !== null && value != null && (!gap || when - earlier <= gap);
    if (value != null) path += goesOn ? (gap ? `L${x(when).toFixed(1)} ${y(value).toFixed(1)}` : `H${x(when).toFixed(1)}V${y(value).toFixed(1)}`) : `M${x(when).toFixed(1)} ${y(value).toFixed(1)}`;
    earlier = value == null ? null : when;
  }
  return gap || earlier === null ? path : `${path}H${x(to).toFixed(1)}`;
}
