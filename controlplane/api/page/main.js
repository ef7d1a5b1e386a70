// The frame of the page: where one is, whether what is shown is new, who one is, and the view itself.
import {contact, hasToken, session, useToken} from "./api.js";
import {notice, Question} from "./dialog.js";
import {followEvents, stream} from "./events.js";
import {lasted} from "./format.js";
import {html, render, useEffect, useRef, useState} from "./html.js";
import {observable, useValue} from "./observable.js";
import {lookAgain, usePolled} from "./polled.js";
import {here, link, useRoute} from "./route.js";
import {Theme} from "./theme.js";
import {Config} from "./views/config.js";
import {Envoy, Envoys} from "./views/envoys.js";
import {Audit, Events} from "./views/events.js";
import {Fleet} from "./views/fleet.js";
import {Pool} from "./views/pool.js";
import {Replica} from "./views/replica.js";

const OLD_S = 10;

const SECTIONS = [["Fleet", link(), ["pools", undefined]], ["Envoys", link("envoys"), ["envoys"]], ["Events", link("events"), ["events"]], ["Audit", link("audit"), ["audit"]]];

function view([room, name, more, id], me) {
  if (room === "pools" && name && more === "replicas" && id) return html`<${Replica} key=${`${name}/${id}`} pool=${name} id=${id} me=${me} />`;
  if (room === "pools" && name && more === "config") return html`<${Config} key=${name} name=${name} />`;
  if (room === "pools" && name) return html`<${Pool} key=${name} name=${name} me=${me} />`;
  if (room === "envoys") return name ? html`<${Envoy} key=${name} id=${name} />` : html`<${Envoys} />`;
  if (room === "events") return html`<${Events} />`;
  if (room === "audit") return html`<${Audit} me=${me} />`;
  return html`<${Fleet} />`;
}

function titleOf([room, name, , id]) {
  return [id, name, room === "pools" ? null : room, "Plimsoll"].filter(Boolean).join(" · ");
}

const seconds = observable(Date.now());
setInterval(() => seconds.set(Date.now()), 1000);

function age(answered, now) {
  return answered.at === null ? null : Math.max(0, (now - answered.at) / 1000);
}

function useOld() {
  const [isOld, setOld] = useState(false);
  useEffect(() => seconds.follow((now) => setOld(Boolean(contact.get().failure) || age(contact.get(), now) > OLD_S)), []);
  return isOld;
}

function Silence() {
  const answered = useValue(contact), old = age(answered, useValue(seconds));
  if (!answered.failure) return null;
  return html`<div class="banner top">The control plane does not answer. Envoys go on with what they have. ${old === null ? "" : `What is below is ${lasted(old)} old. `}
    This page tries again by itself.</div>`;
}

function Status() {
  const now = useValue(seconds), answered = useValue(contact), follows = useValue(stream), needed = useValue(session).needed;
  const old = age(answered, now);
  const words = needed ? "a token is needed" : old === null ? "connecting" : `updated ${lasted(old)} ago`;
  const tone = needed || answered.failure || old > OLD_S ? "bad" : follows.follows ? "" : "warn";
  return html`<span class="status ${tone}" title=${follows.follows ? "Changes are shown at once" : `Events do not come: ${follows.reason}`}><i aria-hidden="true"></i>${words}${
    !needed && !answered.failure && !follows.follows ? ", no events" : ""}</span>`;
}

// For a screen reader: only what has changed, not every second.
function Spoken() {
  const answered = useValue(contact), follows = useValue(stream), said = useValue(notice);
  const before = useRef(false), [words, setWords] = useState("");
  const isCut = Boolean(answered.failure);
  useEffect(() => {
    if (isCut) setWords("The control plane does not answer. What is shown is old.");
    else if (before.current) setWords("The control plane answers again.");
    before.current = isCut;
  }, [isCut]);
  useEffect(() => {
    if (said) setWords(said);
  }, [said]);
  return html`<p class="unseen" role="status" data-events=${follows.follows ? "follows" : follows.reason}>${words}</p>`;
}

function Notice() {
  const said = useValue(notice);
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => notice.set(""), 8000);
    return () => clearTimeout(timer);
  }, [said]);
  return said && html`<p class="notice">${said} <button class="head" aria-label="Dismiss" onClick=${() => notice.set("")}>×</button></p>`;
}

function Login({refused}) {
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  function enter(event) {
    event.preventDefault();
    useToken(field.current.value.trim());
    lookAgain();
  }
  return html`<form class="login" onSubmit=${enter}><h1>A token is needed</h1>
    <p>The control plane answers only who shows one. It stays in this tab. <code>plimsoll token read NAME</code> makes one.</p>
    ${refused && html`<p class="bad" role="alert">It was refused: ${refused}.</p>`}
    <div class="tools"><label class="quiet"><span class="unseen">Token</span><input ref=${field} type="password" autocomplete="off" required placeholder="token" /></label>
    <button class="main">Show</button></div></form>`;
}

function Who({me}) {
  if (!me) return null;
  const leave = () => {
    useToken(null);
    session.set({needed: true, refused: ""});
  };
  return html`<span class="who soft" title=${`Plimsoll ${me.version}`}>${me.name} · ${me.role}${hasToken() && html` <button class="head" onClick=${leave}>sign out</button>`}</span>`;
}

// A control plane of another version may have another page.
let version = null;

function useMe() {
  const known = usePolled("v1/whoami", 15e3), follows = useValue(stream).follows;
  useEffect(() => {
    if (follows) lookAgain();
  }, [follows]);
  useEffect(() => {
    if (!known.data) return;
    version ??= known.data.version;
    if (version !== known.data.version) location.reload();
  }, [known.data]);
  return known.data;
}

function above([room, name, more]) {
  if (room === "pools" && more) return link(room, name);
  return room === "envoys" && name ? link(room) : link();
}

function Page() {
  const route = useRoute(), me = useMe(), {needed, refused} = useValue(session), isOld = useOld(), main = useRef(null);
  const address = route.join("/");
  useEffect(() => {
    document.title = titleOf(route);
    scrollTo(0, 0);
  }, [address]);
  function back(event) {
    if (event.key === "Escape" && !document.querySelector("dialog[open]") && !event.target.matches("input")) location.hash = above(here());
  }
  useEffect(() => {
    addEventListener("keydown", back);
    return () => removeEventListener("keydown", back);
  });
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>Skip to the content</a>
    <header><a class="brand" href=${link()}><svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="7" /><path d="M1.5 12h21" /></svg>Plimsoll</a>
      <nav aria-label="Sections">${SECTIONS.map(([title, to, rooms]) => html`<a href=${to} aria-current=${rooms.includes(route[0]) ? "page" : undefined}>${title}</a>`)}</nav>
      <span class="space"></span><${Status} /><${Who} me=${needed ? null : me} /><${Theme} /></header>
    <${Spoken} /><${Notice} />
    <${Silence} />
    <main ref=${main} id="main" tabindex="-1" class=${isOld ? "old" : ""}>${needed ? html`<${Login} refused=${refused} />` : view(route, me)}</main>
    <footer class="soft"><span><kbd>j</kbd> <kbd>k</kbd> rows · <kbd>Enter</kbd> open<span class="select"> · <kbd>x</kbd> select</span> · <kbd>/</kbd> filter · <kbd>Esc</kbd> back</span><span class="space"></span>
      <nav aria-label="Documents"><a href="docs">API</a><a href="openapi.json">OpenAPI</a></nav></footer><${Question} />`;
}

render(html`<${Page} />`, document.getElementById("page"));
followEvents();
