// One question at a time: an action is carried out once it is confirmed, and says why it failed.
import {html, useEffect, useRef, useState} from "./html.js";
import {observable, useValue} from "./observable.js";
import {lookAgain} from "./polled.js";

const question = observable(null);
// What happened last, for the eyes and for a screen reader.
export const notice = observable("");

/* title, text: of the question. button: the word on what confirms it. option: {label} of a box that
   may be ticked. act: is given whether it is; its result says what was done. */
export const ask = (asked) => question.set(asked);

export function Question() {
  const asked = useValue(question);
  return asked && html`<${Dialog} key=${asked.title} asked=${asked} />`;
}

function Dialog({asked}) {
  const box = useRef(null);
  const [failure, setFailure] = useState(""), [ticked, setTicked] = useState(false), [busy, setBusy] = useState(false);
  useEffect(() => {
    const before = document.activeElement;
    box.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  async function act(event) {
    event.preventDefault();
    setBusy(true);
    try {
      notice.set(await asked.act(ticked));
      question.set(null);
      lookAgain();
    } catch (error) {
      setFailure(error.message);
      setBusy(false);
    }
  }
  return html`<dialog ref=${box} aria-labelledby="question" onCancel=${() => question.set(null)}>
    <form onSubmit=${act}><h2 id="question">${asked.title}</h2><p>${asked.text}</p>
      ${asked.option && html`<label class="option"><input type="checkbox" checked=${ticked} onChange=${(event) => setTicked(event.target.checked)} /> ${asked.option}</label>`}
      ${failure && html`<p class="bad" role="alert">${failure}</p>`}
      <div class="buttons"><button type="button" autofocus onClick=${() => question.set(null)}>Cancel</button>
        <button class="main" disabled=${busy}>${asked.button}</button></div>
    </form></dialog>`;
}
