// What this browser remembers, and nobody else: one entry of its local storage.
const KEY = "vglab-progress";
const EMPTY = { chapters: {}, guesses: {} };
let kept = null; // where storage is blocked, as long as the page is open

/** The pages' addresses begin here. */
export const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href);

/** This page's name, such as `book/fixes/activations`. */
export const page = location.pathname.slice(root.pathname.length).replace(/\.html$/, "");

/** The address of a page, with or without one of its sections. */
export const address = (name, section = "") =>
  new URL(`${name}.html${section && `#${section}`}`, root).href;

/** Everything remembered: `chapters` and `guesses` by page, and the page read `last`. */
export const load = () => {
  if (kept) return kept;
  try {
    return { ...structuredClone(EMPTY), ...JSON.parse(localStorage.getItem(KEY)) };
  } catch {
    return structuredClone(EMPTY);
  }
};

/** Change what is remembered. */
export const update = (change) => {
  const all = load();
  change(all);
  try {
    localStorage.setItem(KEY, JSON.stringify(all));
  } catch {
    kept = all;
  }
};

/** Forget everything. */
export const forget = () => {
  kept = null;
  try {
    localStorage.removeItem(KEY);
  } catch {
    // nothing was kept
  }
};

/** Change what is remembered of this page as a chapter. */
export const updateChapter = (change) =>
  update((all) => change((all.chapters[page] ??= {})));
