// Requests to the REST API. The token stays in this tab.
import {observable} from "./observable.js";

const PATIENCE_MS = 15e3;

// needed: the control plane asks for a token; refused: why the one that was sent is none.
export const session = observable({needed: false, refused: ""});
// at: when the control plane answered last; failure: why it does not answer now.
export const contact = observable({at: null, failure: ""});

let token = sessionStorage.getItem("token");

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const hasToken = () => Boolean(token);

export function useToken(given) {
  token = given || null;
  if (token) sessionStorage.setItem("token", token);
  else sessionStorage.removeItem("token");
  session.set({needed: !token, refused: ""});
}

export function headers(more = {}) {
  return token ? {...more, Authorization: `Bearer ${token}`} : more;
}

// What is asked for with a token that was replaced meanwhile says nothing about the new one.
export function refuse(detail, asked) {
  if (asked === token) session.set({needed: true, refused: token ? detail : ""});
}

export const tokenInUse = () => token;

export async function call(method, path, signal) {
  const asked = token, patience = AbortSignal.timeout(PATIENCE_MS);
  let answer, body;
  try {
    answer = await fetch(path, {
      method,
      headers: headers(),
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    const text = await answer.text();
    body = text && (answer.headers.get("Content-Type") ?? "").includes("json") ? JSON.parse(text) : null;
  } catch (error) {
    if (signal?.aborted) throw error;
    contact.set({...contact.get(), failure: "The control plane does not answer."});
    throw new Problem(0, "The control plane does not answer.");
  }
  contact.set({at: Date.now(), failure: ""});
  if (answer.ok) return body;
  const detail = body?.detail ?? `The answer is ${answer.status}.`;
  if (answer.status === 401) refuse(detail, asked);
  throw new Problem(answer.status, detail);
}

// The path of a pool, and of one of its replicas.
export const pathOf = (pool, replica) => {
  const path = `v1/pools/${encodeURIComponent(pool)}`;
  return replica === undefined ? path : `${path}/replicas/${encodeURIComponent(replica)}`;
};
