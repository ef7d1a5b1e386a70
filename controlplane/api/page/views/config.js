// A pool as Envoys get it.
import {pathOf} from "../api.js";
import {kindOf} from "../format.js";
import {html, useState} from "../html.js";
import {Missing} from "../parts.js";
import {usePolled} from "../polled.js";
import {PoolHead} from "./pool.js";

function Resource({name, document}) {
  const [copied, setCopied] = useState(false), text = JSON.stringify(document, null, 2);
  async function copy() {
    await navigator.clipboard.writeText(text);
    setCopied(true);
  }
  return html`<details><summary><code>${name}</code></summary>
    ${navigator.clipboard && html`<button class="copy" onClick=${copy}>${copied ? "Copied" : "Copy"}</button>`}
    <pre tabindex="0" aria-label=${name}>${text}</pre></details>`;
}

export function Config({name}) {
  const known = usePolled(`${pathOf(name)}/resources`, 10e3), pool = usePolled(pathOf(name), 10e3);
  return html`<${PoolHead} name=${name} pool=${pool.data} view="config" /><${Missing} known=${known} what=${`The pool ${name}`} />
    ${known.data && html`<p class="soft">As Envoys get it. One with a view or listeners of its own may get less, or other addresses.</p>
    ${Object.entries(known.data.resources).map(([url, found]) => html`<section class="resources" key=${url}><div class="tools"><h2>${kindOf(url)}</h2><span class="soft">${Object.keys(found).length}</span></div>
      ${Object.entries(found).map(([each, document]) => html`<${Resource} key=${each} name=${each} document=${document} />`)}</section>`)}`}`;
}
