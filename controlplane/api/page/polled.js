// What a view shows: a path that is asked for again and again, at once after an event.
import {call, session} from "./api.js";
import {useEffect, useState} from "./html.js";

// What takes long to answer is asked for more rarely.
const PART_OF_THE_TIME = 10;

const lookers = new Set();

export function lookAgain() {
  for (const look of lookers) look();
}

export function usePolled(path, every = 2000) {
  const [known, setKnown] = useState({path: null});
  useEffect(() => {
    if (!path) return undefined;
    const leaving = new AbortController();
    let timer = null, running = false, again = false;

    async function look() {
      clearTimeout(timer);
      if (running) again = true;
      if (running || document.hidden || session.get().needed) return;
      const begun = performance.now();
      running = true;
      let next;
      try {
        next = {path, data: await call("GET", path, leaving.signal), error: null};
      } catch (error) {
        next = {path, error};
      }
      if (leaving.signal.aborted) return;
      running = false;
      // After a failure the last answer stays, to be shown as what it is: old.
      setKnown((before) => (before.path === path ? {...before, ...next} : next));
      const wait = Math.max(every, PART_OF_THE_TIME * (performance.now() - begun));
      timer = setTimeout(look, again ? 200 : wait);
      again = false;
    }

    lookers.add(look);
    document.addEventListener("visibilitychange", look);
    look();
    return () => {
      leaving.abort();
      clearTimeout(timer);
      lookers.delete(look);
      document.removeEventListener("visibilitychange", look);
    };
  }, [path, every]);
  return known.path === path ? known : {path};
}
