// A real table that sorts, filters and is walked by keyboard. Rows are keyed and of one height, and
// only those in sight are in the document, so that thousands scroll as smoothly as ten.
import {html, useEffect, useLayoutEffect, useMemo, useRef, useState} from "./html.js";
import {number} from "./format.js";

const ROW = 30;  // Pixels, as in page.css.
const WHOLE = 80;  // Rows that are all shown.
const BEYOND = 10;  // Rows above and below those in sight.

const NONE = [];

// How each table was left, for when its view is opened again.
const remembered = new Map();

const textOf = (columns, row) => columns.map((column) => column.text?.(row) ?? column.value(row) ?? "").join(" ").toLowerCase();

function compare(one, other) {
  if (typeof one === "string" || typeof other === "string") return String(one ?? "").localeCompare(String(other ?? ""), "en", {numeric: true});
  return one - other;
}

function sorted(rows, column, ascending) {
  const found = rows.map((row) => [column.value(row), row]);
  // What is unknown comes last, whichever way.
  found.sort(([one], [other]) => (one == null) - (other == null) || (one == null ? 0 : (ascending ? 1 : -1) * compare(one, other)));
  return found.map(([, row]) => row);
}

/* aside: of a table beside the one that a view is about: it has no filter, and the keys are its own
   only while it has the focus.
   picks: {keys, set}: rows can be selected; a set of their keys, and what replaces it. */
export function Table({id, caption, columns, rows, keyOf, open, picks, filters = NONE, sort = columns[0].id, descending = false, tools, narrow = false, aside = false, empty = "nothing yet"}) {
  const [view, setView] = useState(() => remembered.get(id) ?? {sort, ascending: !descending, words: "", filter: 0});
  const change = (more) => setView((before) => {
    const next = {...before, ...more};
    remembered.set(id, next);
    return next;
  });
  const shown = useMemo(() => {
    const words = view.words.toLowerCase().split(/\s+/).filter(Boolean);
    const passes = filters[view.filter - 1]?.test;
    const found = rows.filter((row) => (!passes || passes(row)) && (!words.length || words.every((word) => textOf(columns, row).includes(word))));
    const column = columns.find((each) => each.id === view.sort) ?? columns[0];
    return sorted(found, column, view.ascending);
  }, [rows, columns, view, filters]);

  const scroller = useRef(null), body = useRef(null), wanted = useRef(null);
  // Rows are drawn anew once another block of them comes into sight, and not for each pixel.
  const [block, setBlock] = useState(0);
  const [active, setActive] = useState(null);
  // Keys may come faster than rows are drawn.
  const current = useRef(null);
  function stand(key) {
    current.current = key;
    setActive(key);
  }
  const isWhole = shown.length <= WHOLE;
  const room = Math.ceil((scroller.current?.clientHeight || 800) / ROW);
  const first = isWhole ? 0 : Math.max(0, Math.min((block - 1) * BEYOND, shown.length - room));
  const last = isWhole ? shown.length : Math.min(shown.length, first + room + 3 * BEYOND);
  const inSight = shown.slice(first, last);
  const walkable = inSight.some((row) => keyOf(row) === active) ? active : inSight.length ? keyOf(inSight[0]) : null;

  function walk(by, to) {
    const at = shown.findIndex((row) => keyOf(row) === current.current);
    const index = to ?? (at < 0 ? 0 : Math.max(0, Math.min(shown.length - 1, at + by)));
    if (!shown[index]) return;
    wanted.current = keyOf(shown[index]);
    stand(wanted.current);
    const box = scroller.current, head = ROW;
    if (!isWhole) {
      if (index * ROW < box.scrollTop) box.scrollTop = index * ROW;
      else if ((index + 2) * ROW + head > box.scrollTop + box.clientHeight) box.scrollTop = (index + 2) * ROW + head - box.clientHeight;
    }
    reach();
  }

  function pick(key) {
    const keys = new Set(picks.keys);
    if (!keys.delete(key)) keys.add(key);
    picks.set(keys);
  }

  // At once where the row is in the document, so that an Enter that follows finds it.
  function reach() {
    if (wanted.current === null) return;
    const row = [...body.current.rows].find((each) => each.dataset.key === wanted.current);
    const target = row?.querySelector("a, button");
    if (!target) return;
    wanted.current = null;
    target.focus({preventScroll: !isWhole});
  }

  useLayoutEffect(reach);

  useEffect(() => {
    function onKey(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const field = document.activeElement?.matches?.("input:not([type=checkbox]), select, textarea");
      if (aside && !scroller.current.contains(document.activeElement)) return;
      if (!aside && document.activeElement?.closest?.(".aside")) return;
      const inBody = body.current?.contains(document.activeElement) || document.activeElement === document.body || document.activeElement === scroller.current;
      if (event.key === "/" && !field) scroller.current.parentElement.querySelector("input[type=search]")?.focus();
      else if (field) return;
      else if (event.key === "j" || (event.key === "ArrowDown" && inBody)) walk(1);
      else if (event.key === "k" || (event.key === "ArrowUp" && inBody)) walk(-1);
      else if (event.key === "Home" && inBody) walk(0, 0);
      else if (event.key === "End" && inBody) walk(0, shown.length - 1);
      else if (event.key === "x" && picks && inBody && current.current !== null) pick(current.current);
      else return;
      event.preventDefault();
    }
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });

  function inField(event) {
    if (event.key === "Escape") {
      event.stopPropagation();
      if (view.words) change({words: ""});
      else event.target.blur();
    } else if (event.key === "Enter" || event.key === "ArrowDown") {
      event.preventDefault();
      walk(0, 0);
    }
  }

  const width = columns.length + (picks ? 1 : 0);
  const count = shown.length === rows.length ? number(rows.length) : `${number(shown.length)} of ${number(rows.length)}`;
  return html`<section class="list ${narrow ? "narrow" : ""} ${aside ? "aside" : ""}" id=${id}>
    <div class="tools"><h2>${caption}</h2><span class="soft" data-count>${count}</span>
      ${tools}<span class="space"></span>
      ${filters.length > 0 && html`<label class="quiet"><span class="unseen">Show</span><select value=${String(view.filter)}
        onChange=${(event) => change({filter: Number(event.target.value)})}><option value="0">all</option>
        ${filters.map((each, index) => html`<option value=${String(index + 1)}>${each.label}</option>`)}</select></label>`}
      ${!aside && html`<label class="quiet"><span class="unseen">Filter ${caption}</span><input type="search" placeholder="filter  /" autocomplete="off"
        spellcheck=${false} value=${view.words} onInput=${(event) => change({words: event.target.value})} onKeyDown=${inField} /></label>`}
    </div>
    <div class="scroll ${isWhole ? "" : "many"}" ref=${scroller} role="region" tabindex="0" aria-label=${caption} onScroll=${(event) => setBlock(Math.floor(event.target.scrollTop / ROW / BEYOND))}>
      <table aria-rowcount=${shown.length + 1} aria-label=${caption}>
        <thead><tr aria-rowindex="1">${picks && html`<${PickAll} caption=${caption} keys=${shown.map(keyOf)} picks=${picks} />`}${columns.map((column) => html`<${Head} key=${column.id} column=${column} view=${view} change=${change} />`)}</tr></thead>
        <tbody ref=${body} onFocusIn=${(event) => stand(event.target.closest("tr")?.dataset.key ?? null)}>
          ${first > 0 && html`<tr key="above" class="gap" aria-hidden="true"><td colspan=${width} style=${{height: `${first * ROW}px`}}></td></tr>`}
          ${inSight.map((row, index) => html`<${Row} key=${`row ${keyOf(row)}`} id=${keyOf(row)} row=${row} columns=${columns} open=${open}
            at=${first + index + 2} walkable=${keyOf(row) === walkable} pick=${picks && pick} isPicked=${picks?.keys.has(keyOf(row))} />`)}
          ${last < shown.length && html`<tr key="below" class="gap" aria-hidden="true"><td colspan=${width} style=${{height: `${(shown.length - last) * ROW}px`}}></td></tr>`}
        </tbody>
      </table>
      ${!shown.length && html`<p class="empty soft">${rows.length ? "nothing matches the filter" : empty}</p>`}
    </div>
  </section>`;
}

function Head({column, view, change}) {
  const is = column.id === view.sort;
  const order = is ? (view.ascending ? "ascending" : "descending") : undefined;
  // Of numbers the largest are asked for first.
  const sort = () => change(is ? {ascending: !view.ascending} : {sort: column.id, ascending: !column.number});
  return html`<th scope="col" aria-sort=${order} class=${classOf(column)}><button class="head" title=${column.hint} onClick=${sort}>${column.title}<span
    class="arrow" aria-hidden="true">${is ? (view.ascending ? "↑" : "↓") : "\u00a0"}</span></button></th>`;
}

// Of the rows that the filter shows.
function PickAll({caption, keys, picks}) {
  const box = useRef(null), count = keys.filter((key) => picks.keys.has(key)).length;
  const all = count > 0 && count === keys.length;
  useLayoutEffect(() => {
    box.current.indeterminate = count > 0 && !all;
  });
  return html`<td class="pick"><input ref=${box} type="checkbox" aria-label=${`Select all ${caption.toLowerCase()}`} checked=${all} disabled=${!keys.length}
    onChange=${() => picks.set(new Set(all ? [] : keys))} /></td>`;
}

function Row({id, row, columns, open, at, walkable, pick, isPicked}) {
  const [first, ...others] = columns;
  const shown = first.cell ? first.cell(row) : first.value(row);
  const to = open?.(row);
  return html`<tr data-key=${id} aria-rowindex=${at} class=${isPicked ? "picked" : undefined}>
    ${pick && html`<td class="pick"><input type="checkbox" tabindex=${walkable ? 0 : -1} aria-label=${`Select ${id}`} checked=${isPicked} onChange=${() => pick(id)} /></td>`}
    <th scope="row" class=${classOf(first)}>${to ? html`<a href=${to} tabindex=${walkable ? 0 : -1}>${shown}</a>` : shown}</th>
    ${others.map((column) => html`<td key=${column.id} class=${`${classOf(column)} ${column.tone?.(row) ?? ""}`}
      title=${column.tip?.(row)}>${column.cell ? column.cell(row) : column.value(row) ?? "–"}</td>`)}
  </tr>`;
}

const classOf = (column) => `${column.number ? "number" : ""} ${column.rank ? `rank${column.rank}` : ""} ${column.wide ? "wide" : ""}`;
