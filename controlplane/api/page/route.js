// Addresses within the page: #/pools/NAME/replicas/ID. A name may hold any character.
import {useEffect, useState} from "./html.js";

export const link = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

// Where one is now.
export function here() {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return [];
  }
}

export function useRoute() {
  const [route, setRoute] = useState(here);
  useEffect(() => {
    const follow = () => setRoute(here());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}
