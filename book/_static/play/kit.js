// What the figures draw with: pictures on a panel's stage, axes, lines, legends, in the book's style.
import { d3 } from "./d3.js";
import { make } from "./panel.js";

export * from "./panel.js";

/** Colours, markers and dashes of the book's figures, in their order; CSS decides the colours. */
export const SERIES = [
  { color: "var(--figure-blue)", symbol: d3.symbolCircle, dash: null },
  { color: "var(--figure-orange)", symbol: d3.symbolSquare, dash: "7 3" },
  { color: "var(--figure-green)", symbol: d3.symbolTriangle, dash: "8 3 2 3" },
  { color: "var(--figure-pink)", symbol: d3.symbolDiamond, dash: "2 3" },
];

/**
 * Draws `picture(svg, width)` on a panel's stage whenever the panel asks, with `svg` a d3 selection
 * whose user units are pixels; `label()` says what is to be seen, by default the panel's finding.
 */
export const draw = (panel, picture, { label = () => panel.finding.textContent } = {}) => {
  const svg = d3.select(panel.stage).append("svg").attr("role", "img");
  panel.draws((width) => {
    picture(svg, width);
    svg.attr("aria-label", label());
  });
  return svg;
};

/** Sizes the picture and returns the group inside its margins, made once. */
export const plotArea = (svg, width, height, margin) => {
  svg.attr("width", width).attr("height", height).attr("viewBox", `0 0 ${width} ${height}`);
  const area = svg.selectAll("g.area").data([0]).join("g").attr("class", "area");
  return area.attr("transform", `translate(${margin.left},${margin.top})`);
};

/** Asks an axis for about so many ticks, or for these values; a `format` is d3's or a function. */
const ticked = (axis, ticks, format) => {
  if (Array.isArray(ticks)) return axis.tickValues(ticks).tickFormat(format);
  const filtered = typeof format !== "function" || axis.scale().base; // a logarithm names a few only
  return filtered ? axis.ticks(ticks, format) : axis.ticks(ticks).tickFormat(format);
};

/** For d3's `each`: breaks a text in two lines where it is longer than the place that it has. */
const inTwoLines = (places) =>
  function (_, i) {
    const words = this.textContent.split(" ");
    if (words.length < 2 || this.getComputedTextLength() <= places[i]) return;
    const lengths = words.map((_, k) => words.slice(0, k + 1).join(" ").length);
    const half = Math.max(1, lengths.filter((length) => length <= 0.55 * lengths.at(-1)).length);
    d3.select(this)
      .text(null)
      .selectAll("tspan")
      .data([words.slice(0, half).join(" "), words.slice(half).join(" ")])
      .join("tspan")
      .attr("x", 0)
      .attr("dy", (_, line) => (line ? "1.15em" : "-0.35em"))
      .text((line) => line);
  };

/** Draws both axes with grid lines and names, in the style of the book's figures. */
export const axes = (area, { x, y, xlabel, ylabel, xticks = 6, yticks = 6, xformat, yformat }) => {
  const [left, right] = x.range();
  const [bottom, top] = y.range();
  const parts = [
    ["x-axis", ticked(d3.axisBottom(x), xticks, xformat).tickSize(top - bottom).tickPadding(8), bottom],
    ["y-axis", ticked(d3.axisLeft(y), yticks, yformat).tickSize(left - right).tickPadding(8), 0],
  ];
  for (const [name, axis, down] of parts) {
    const group = area.selectAll(`g.${name}`).data([0]).join("g").attr("class", `axis ${name}`);
    group.attr("transform", `translate(0,${down})`).call(axis);
  }
  const names = [
    { words: xlabel, at: `translate(${(left + right) / 2},${bottom + 40})` },
    { words: ylabel, at: `translate(${left - 46},${(bottom + top) / 2}) rotate(-90)` },
  ];
  area
    .selectAll("text.name")
    .data(names)
    .join("text")
    .attr("class", "name")
    .attr("transform", (d) => d.at)
    .attr("text-anchor", "middle")
    .text((d) => d.words)
    .each(inTwoLines([right - left + 46, bottom - top + 46]));
};

/** Draws named series `{name, values: [[x, y], …]}` as lines with markers in the house's order. */
export const lines = (area, series, { x, y, marks = true }) => {
  const path = d3
    .line()
    .defined(([, value]) => Number.isFinite(y(value)))
    .x(([at]) => x(at))
    .y(([, value]) => y(value));
  const groups = area
    .selectAll("g.series")
    .data(series, (d) => d.name)
    .join("g")
    .attr("class", "series")
    .style("color", (d, i) => SERIES[d.style ?? i].color);
  groups
    .selectAll("path.line")
    .data((d, i) => [{ ...d, look: SERIES[d.style ?? i] }])
    .join("path")
    .attr("class", "line")
    .attr("stroke-dasharray", (d) => d.look.dash)
    .attr("d", (d) => path(d.values));
  groups
    .selectAll("path.mark")
    .data((d, i) => {
      const look = SERIES[d.style ?? i];
      const points = d.values.filter(([, value]) => Number.isFinite(y(value)));
      return marks ? points.map((point) => ({ point, look })) : [];
    })
    .join("path")
    .attr("class", "mark")
    .attr("d", (d) => d3.symbol(d.look.symbol, 34)())
    .attr("transform", (d) => `translate(${x(d.point[0])},${y(d.point[1])})`);
  return groups;
};

/**
 * The key of one series, its line and its marker, to stand beside its name in HTML. A `look` has a
 * `color`, a `symbol` (null: no mark) and a `dash` ("none": no line).
 */
export const key = (style, look = SERIES[style]) => {
  const svg = d3.create("svg").attr("width", 30).attr("height", 12).attr("aria-hidden", "true");
  svg.style("color", look.color);
  if (look.dash !== "none") {
    svg.append("path").attr("class", "line").attr("stroke-dasharray", look.dash).attr("d", "M1,6H29");
  }
  if (look.symbol) {
    const mark = svg.append("path").attr("class", "mark").attr("transform", "translate(15,6)");
    mark.attr("d", d3.symbol(look.symbol, 34)());
  }
  return svg.node();
};

/**
 * A legend in HTML above the picture: it wraps on a phone. `entries`: [{name, style}], or with a
 * `look` of `key` in place of the house's `style`.
 */
export const legend = (panel, entries) => {
  const list = make("ul", { className: "vglab-legend" });
  panel.stage.before(list);
  for (const { name, style, look } of entries) list.append(make("li", {}, key(style, look), name));
  return list;
};
