// The words of our scripts in the page's language. English is both the key and the default.
const stored = document.getElementById("vglab-strings");
const table = stored ? JSON.parse(stored.textContent) : {};

/** The page's wording of an English text; `{name}` in it is replaced by `values.name`. */
export const t = (english, values = {}) =>
  (table[english] ?? english).replace(/\{(\w+)\}/g, (_, name) => values[name]);
