// Figures as their reader writes them. Decimal strings stay as the server rounded them.

/** A number, also out of a text that holds nothing else; null for anything else. */
export function number(value) {
  const found = typeof value === "string" && value.trim() ? Number(value) : value;
  return typeof found === "number" && Number.isFinite(found) ? found : null;
}

export function percent(value) {
  const found = number(value);
  return found === null ? null : `${found.toFixed(2)} %`;
}

/** An amount with its currency, "" for none; what costs less than one keeps its digits. */
export function price(value, currency) {
  const found = number(value);
  if (found === null) return "";
  const small = found !== 0 && Math.abs(found) < 1;
  try {
    const style = currency ? { style: "currency", currency } : {};
    return new Intl.NumberFormat(undefined, { ...style, maximumSignificantDigits: small ? 6 : undefined }).format(found);
  } catch {
    return `${found} ${currency}`; // a currency that browsers do not know, such as a coin
  }
}
