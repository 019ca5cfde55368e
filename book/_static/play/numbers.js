// Numbers as the book writes them: three digits, a true minus sign, powers of ten raised.
const RAISED = {
  "-": "⁻",
  0: "⁰",
  1: "¹",
  2: "²",
  3: "³",
  4: "⁴",
  5: "⁵",
  6: "⁶",
  7: "⁷",
  8: "⁸",
  9: "⁹",
};
const raised = (exponent) => [...String(exponent)].map((c) => RAISED[c]).join("");

/** `10ⁿ`, for the ticks of a logarithmic axis. */
export const power = (value) => `10${raised(Math.round(Math.log10(value)))}`;

/** A number to so many significant digits, without trailing zeros: −0.0123, 1.2 × 10⁻⁶, ∞. */
export const number = (value, digits = 3) => {
  if (!Number.isFinite(value)) return value < 0 ? "−∞" : "∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
    const [mantissa, exponent] = size.toExponential(digits - 1).split("e");
    return `${value < 0 ? "−" : ""}${Number(mantissa)} × 10${raised(Number(exponent))}`;
  }
  return String(Number(value.toPrecision(digits))).replace("-", "−");
};

/** A number to so many decimals, all of them: columns of a table stay aligned. */
export const fixed = (value, decimals = 2) => {
  const text = value.toFixed(decimals);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
};
