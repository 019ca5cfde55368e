// What the interactive figures share: a panel with controls, a stage to draw on, a spoken summary.
import { d3 } from "./d3.js";
import { t } from "./strings.js";

/** Colours, markers and dashes of the book's figures, in their order; CSS decides the colours. */
export const SERIES = [
  { color: "var(--figure-blue)", symbol: d3.symbolCircle, dash: null },
  { color: "var(--figure-orange)", symbol: d3.symbolSquare, dash: "7 3" },
  { color: "var(--figure-green)", symbol: d3.symbolTriangle, dash: "8 3 2 3" },
  { color: "var(--figure-pink)", symbol: d3.symbolDiamond, dash: "2 3" },
];

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** An HTML element with properties, attributes (`aria-…`, `for`, `role`) and children. */
export const make = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

/** Calls of the result run `draw` once before the next frame, however many they are. */
export const oncePerFrame = (draw) => {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
};

let ids = 0;
const newId = (name) => `vglab-${name}-${(ids += 1)}`;

/** Lets the arrow keys' repeat and the pointer share one path: every change calls `changed`. */
const slider = (parent, { label, min, max, step, value, format = String }, changed) => {
  const id = newId("slider");
  const shown = make("output", { htmlFor: id });
  const input = make("input", { type: "range", id, min, max, step, value });
  const tell = () => {
    shown.textContent = format(Number(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => {
    tell();
    changed();
  });
  const tick = make("span", { className: "vglab-tick", "aria-hidden": "true", hidden: true });
  const marked = make("span", { className: "vglab-marked", hidden: true });
  const name = make("label", { for: id }, label);
  parent.append(make("div", { className: "vglab-slider" }, name, shown, input, tick, marked));
  tell();
  return {
    input,
    /** Marks a place on the scale, where there is one within it, and says below what it is. */
    mark(place, words) {
      const share = (place - min) / (max - min);
      tick.hidden = !(share >= 0 && share <= 1);
      tick.style.setProperty("--at", share);
      marked.hidden = !words;
      marked.textContent = words;
    },
    /** Says the value again, where its wording depends on more than the slider. */
    tell,
    get value() {
      return Number(input.value);
    },
    set value(next) {
      input.value = next;
      tell();
    },
  };
};

/** One of a few options, as radio buttons that look like a row of keys. `options`: value -> words. */
const choice = (parent, { label, options, value }, changed) => {
  const name = newId("choice");
  const inputs = Object.keys(options).map((key) =>
    make("input", { type: "radio", name, value: key, checked: key === value }),
  );
  const labels = inputs.map((input) => make("label", {}, input, make("span", {}, options[input.value])));
  const set = make("fieldset", { className: "vglab-choice" }, make("legend", {}, label), ...labels);
  set.addEventListener("change", changed);
  parent.append(set);
  return {
    element: set,
    get value() {
      return inputs.find((input) => input.checked).value;
    },
    set value(next) {
      for (const input of inputs) input.checked = input.value === next;
    },
  };
};

/** One of many options. `options`: value -> words. */
const menu = (parent, { label, options, value }, changed) => {
  const id = newId("menu");
  const select = make(
    "select",
    { id },
    ...Object.entries(options).map(([key, words]) =>
      make("option", { value: key, selected: key === value }, words),
    ),
  );
  select.addEventListener("change", changed);
  parent.append(make("div", { className: "vglab-menu" }, make("label", { for: id }, label), select));
  return select;
};

/** A box to tick. */
const toggle = (parent, { label, value = false }, changed) => {
  const input = make("input", { type: "checkbox", checked: value });
  input.addEventListener("change", changed);
  parent.append(make("label", { className: "vglab-toggle" }, input, make("span", {}, label)));
  return {
    input,
    get value() {
      return input.checked;
    },
    set value(next) {
      input.checked = next;
    },
  };
};

const button = (parent, { label }, pressed) => {
  const element = make("button", { type: "button" }, label);
  element.addEventListener("click", pressed);
  parent.append(element);
  return element;
};

/**
 * The frame of an interactive figure.
 *
 * `panel.title(words)` names it; `panel.controls(changed)` returns makers of controls, each of
 * which calls `changed` on every change; `panel.draw(f)` calls `f(svg, width)` once a frame, after
 * `panel.redraw()` or when the panel's width or theme changes, with `svg` a d3 selection whose user
 * units are pixels; `panel.say(words)` writes the finding below the picture, and a screen reader
 * hears it once the reader has stopped moving.
 */
export const makePanel = (name) => {
  const title = make("p", { className: "vglab-play-title", id: newId("title") });
  const controls = make("div", { className: "vglab-controls" });
  const stage = make("div", { className: "vglab-stage" });
  const finding = make("p", { className: "vglab-finding" });
  const heard = make("p", { className: "vglab-heard", role: "status" });
  const element = make(
    "section",
    { className: `vglab-panel vglab-play-${name}`, "aria-labelledby": title.id },
    title,
    controls,
    stage,
    finding,
    heard,
  );
  let redraw = () => {};
  let timer;

  return {
    element,
    stage,
    title(words) {
      title.textContent = words;
    },
    controls(changed, parent = controls) {
      const makers = { slider, choice, menu, toggle, button };
      return Object.fromEntries(
        Object.entries(makers).map(([kind, maker]) => [
          kind,
          (options, then = changed) => maker(parent, options, then),
        ]),
      );
    },
    draw(picture, { label = () => finding.textContent } = {}) {
      const svg = d3.select(stage).append("svg").attr("role", "img");
      redraw = oncePerFrame(() => {
        const width = stage.clientWidth;
        if (!width) return;
        picture(svg, width);
        svg.attr("aria-label", label());
      });
      new ResizeObserver(redraw).observe(stage);
      redraw();
      return svg;
    },
    redraw: () => redraw(),
    say(words) {
      if (finding.textContent === words) return;
      finding.textContent = words;
      clearTimeout(timer);
      timer = setTimeout(() => (heard.textContent = words), 700);
    },
    t,
  };
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
