// The numbers behind a picture, folded away: for who wants them, and for who cannot see the picture.
import { make } from "./panel.js";
import { t } from "./strings.js";

/**
 * Adds a folded table to a panel. `content()` returns `{caption, head: [words], rows: [[words]]}`,
 * the first word of each row being its name; it is asked only while the table is open.
 */
export const numbersTable = (panel, content) => {
  const table = make("table");
  const scroll = make("div", { className: "vglab-scroll", tabIndex: 0, role: "region" }, table);
  const details = make(
    "details",
    { className: "vglab-folded" },
    make("summary", {}, t("The numbers")),
    scroll,
  );
  const update = () => {
    if (!details.open) return;
    const { caption, head, rows } = content();
    scroll.setAttribute("aria-label", caption);
    table.replaceChildren(
      make("caption", {}, caption),
      make(
        "thead",
        {},
        make("tr", {}, ...head.map((words) => make("th", { scope: "col" }, words))),
      ),
      make(
        "tbody",
        {},
        ...rows.map(([name, ...cells]) =>
          make(
            "tr",
            {},
            make("th", { scope: "row" }, name),
            ...cells.map((words) => make("td", {}, words)),
          ),
        ),
      ),
    );
  };
  details.addEventListener("toggle", update);
  panel.element.append(details);
  return update;
};
