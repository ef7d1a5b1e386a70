// Addresses within the page: #/pools/NAME/replicas/ID. A name may hold any character.
import {useEffect, useState} from "./html.js";

export const link = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

function parts() {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return [];
  }
}

export function useRoute() {
  const [route, setRoute] = useState(parts);
  useEffect(() => {
    const follow = () => setRoute(parts());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}
