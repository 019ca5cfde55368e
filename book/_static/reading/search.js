// Excerpts in the search's results: the prose around a word, without code, outputs and TeX.
/* global Search */
const DROPPED = [
  "script, style, nav, footer, h1, .headerlink, .d-print-none, .onlyprint, .vglab-facts, .vglab-definition",
  "div.cell, .highlight, .vglab-figure, .vglab-guess, .vglab-finish, .vglab-progress, .katex-html, annotation",
].join(", ");
const GREEK = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", varepsilon: "ε", eta: "η", theta: "θ",
  lambda: "λ", mu: "μ", xi: "ξ", rho: "ρ", sigma: "σ", tau: "τ", varphi: "φ", phi: "φ", chi: "χ",
  Delta: "Δ", Sigma: "Σ", nabla: "∇", partial: "∂", sqrt: "√", infty: "∞", cdot: "·", times: "×",
  le: "≤", leq: "≤", ge: "≥", geq: "≥", approx: "≈", sim: "∼", to: "→", ln: "ln ", log: "log ", max: "max",
};

/** A formula's TeX as one would write it in a line of text. */
export const plain = (tex) =>
  tex
    .replace(/^\\[([]|\\[)\]]$/g, "")
    .replace(/\\([A-Za-z]+)\s*/g, (_, name) => GREEK[name] ?? "")
    .replace(/\\[,;:! ]|[{}$&\\]/g, "");

/** The prose of a page, or of the part of it that an anchor names. */
export const prose = (source, anchor) => {
  const page = new DOMParser().parseFromString(source, "text/html");
  const main = page.querySelector("article") ?? page.querySelector('[role="main"]');
  let part = (anchor && page.getElementById(decodeURIComponent(anchor.slice(1)))) || main;
  if (part?.matches("dt")) part = part.nextElementSibling ?? part; // a term: its definition
  if (!part) return "";
  part.querySelectorAll(DROPPED).forEach((element) => element.remove());
  part.querySelectorAll(".math").forEach((formula) => {
    if (!formula.querySelector("math")) formula.replaceWith(plain(formula.textContent));
  });
  return part.textContent.replace(/\s+/g, " ").trim();
};

addEventListener("DOMContentLoaded", () => {
  if (typeof Search !== "undefined") Search.htmlToText = prose;
});
