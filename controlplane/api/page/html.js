// The markup of every component: Preact by tagged templates, so nothing has to be built.
import htm from "./vendor/htm.js";
import {h} from "./vendor/preact.js";

export const html = htm.bind(h);
export {Fragment, render} from "./vendor/preact.js";
export {useEffect, useLayoutEffect, useMemo, useRef, useState} from "./vendor/hooks.js";
