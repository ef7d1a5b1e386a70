// Numbers, times and counts as people read them; what is unknown is a dash.
export const UNKNOWN = "–";

export function number(value, unit = "") {
  if (value == null) return UNKNOWN;
  const digits = Math.abs(value) >= 1000 ? {maximumFractionDigits: 0} : {maximumSignificantDigits: 3};
  return value.toLocaleString("en", digits) + unit;
}

// Of things that are counted, where it is a mean.
export const about = (value) => (value == null ? UNKNOWN : value.toLocaleString("en", {maximumFractionDigits: value < 100 ? 1 : 0}));

export function milliseconds(value) {
  if (value == null) return UNKNOWN;
  return value >= 1000 ? number(value / 1000, " s") : number(value, " ms");
}

export function percent(part) {
  if (part == null) return UNKNOWN;
  const value = 100 * part;
  return `${value > 0 && value < 0.1 ? "<0.1" : value.toFixed(value < 10 ? 1 : 0)} %`;
}

export const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

const UNITS = [["d", 86400], ["h", 3600], ["min", 60]];

export function lasted(seconds) {
  if (seconds == null) return UNKNOWN;
  const unit = UNITS.find(([, size]) => seconds >= size);
  return unit ? `${Math.floor(seconds / unit[1])} ${unit[0]}` : `${Math.max(0, Math.round(seconds))} s`;
}

export const clock = (at) => new Date(at).toLocaleTimeString([], {hour12: false});

const DURATION = {ms: 1, s: 1000, m: 60e3, h: 3600e3};

// Of a duration as the API writes it, such as 250ms.
export function inMilliseconds(text) {
  const [, value, unit] = /^([\d.]+)(ms|s|m|h)$/.exec(text ?? "") ?? [];
  return value === undefined ? null : value * DURATION[unit];
}

export const place = (locality) => [locality.region, locality.zone].filter(Boolean).join("/") || UNKNOWN;

export const kindOf = (url) => url.split(".").pop();
