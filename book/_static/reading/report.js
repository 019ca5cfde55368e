// "Report an error" quotes what is selected on the page, and gives the full address.
import { page } from "./store.js";

const MOST = 600; // characters quoted

/** The address of a new issue, with the page's address and a quotation in its text. */
export const quoted = (href, quotation) => {
  const url = new URL(href);
  const lines = quotation.trim().slice(0, MOST).split(/\s*\n\s*/).filter(Boolean);
  const quote = lines.map((line) => `\n> ${line}`).join("");
  const body = url.searchParams.get("body").replace(page, () => location.href + (quote && `\n${quote}`));
  url.searchParams.set("body", body);
  return url.href;
};

export const quoteInReports = () => {
  const article = document.querySelector(".bd-article");
  let selected = "";
  document.addEventListener("selectionchange", () => {
    const selection = getSelection();
    if (!selection.isCollapsed && article?.contains(selection.anchorNode)) selected = String(selection);
  });
  document.addEventListener("pointerdown", ({ target }) => {
    if (!target.closest?.(LINKS)) selected = String(getSelection()) && selected;
  });
  for (const link of document.querySelectorAll(LINKS)) {
    const { href } = link;
    link.addEventListener("click", () => (link.href = quoted(href, selected)));
  }
};

const LINKS = ".vglab-mend .report, .btn-source-issues-button";
