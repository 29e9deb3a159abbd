// What a tool's data holds, and its figures as their reader writes them. Decimal strings stay as the
// server rounded them.

/** The records of a list, none for anything else. */
export function rowsOf(value) {
  return Array.isArray(value) ? value.filter((row) => row && typeof row === "object" && !Array.isArray(row)) : [];
}

/** A text or number as text, "" for anything else. */
export function said(value) {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

/** A number, also out of a text that holds nothing else; null for anything else. */
export function number(value) {
  const found = typeof value === "string" && value.trim() ? Number(value) : value;
  return typeof found === "number" && Number.isFinite(found) ? found : null;
}

export function percent(value) {
  const found = number(value);
  return found === null ? null : `${found.toFixed(2)} %`;
}

/** An amount with its currency, "" for none; what costs less than one keeps its digits. `whole`: no cents. */
export function price(value, currency, whole = false) {
  const found = number(value);
  if (found === null) return "";
  const small = found !== 0 && Math.abs(found) < 1;
  try {
    const style = currency ? { style: "currency", currency } : {};
    const digits = small ? { maximumSignificantDigits: 6 } : whole ? { maximumFractionDigits: 0 } : {};
    return new Intl.NumberFormat(undefined, { ...style, ...digits }).format(found);
  } catch {
    return `${found} ${currency}`; // a currency that browsers do not know, such as a coin
  }
}
