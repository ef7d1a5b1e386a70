// Light, dark, or as the system has it: the switch goes round.
import {html, useState} from "./html.js";

const NEXT = {system: "light", light: "dark", dark: "system"};

function apply(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

apply(localStorage.getItem("theme") ?? "system");

export function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem("theme") ?? "system");
  function next() {
    localStorage.setItem("theme", NEXT[theme]);
    apply(NEXT[theme]);
    setTheme(NEXT[theme]);
  }
  return html`<button class="head theme" onClick=${next} aria-label=${`Colours: ${theme}. Change to ${NEXT[theme]}.`} title=${`Colours: ${theme}`}>${{system: "◐", light: "☀", dark: "☾"}[theme]}</button>`;
}
