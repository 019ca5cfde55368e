// The trainability map: two networks chosen on it, their learning curves, and the prediction.
import { d3 } from "./d3.js";
import { axes, draw, lines, make, oncePerFrame } from "./kit.js";
import { GUESSING, border, moved, nearest, open } from "./trainability-model.js";
import { t } from "./strings.js";

const MARGIN = { left: 56, right: 14 };
const LOSSES = [0.1, 8];
const LOSS_TICKS = [0.1, 0.2, 0.5, 1, 2, 5];
const CURSORS = [
  { name: "A", start: { s: 4, d: 3 }, variable: "--figure-blue" },
  { name: "B", start: { s: 4, d: 11 }, variable: "--figure-orange" },
];

const number = d3.format(".3~r");
const three = (value) => (value >= 1000 ? d3.format(",.0f")(value) : number(value));
const percent = d3.format(".1%");

const styled = () => {
  const href = new URL("./trainability.css", import.meta.url).href;
  const link = make("link", { rel: "stylesheet", href });
  document.head.append(link);
  return new Promise((done, failed) => {
    link.onload = done;
    link.onerror = () => failed(new Error(`no style sheet at ${href}`));
  });
};

const stored = async () => {
  const answer = await fetch(new URL("./trainability.json", import.meta.url));
  if (!answer.ok) throw new Error(`${answer.status}: ${answer.url}`);
  return open(await answer.json());
};

/** What happened to one network, and whether the theory had said so. */
const verdict = (name, one) => {
  const values = { name, depth: one.depth, ratio: three(one.ratio), accuracy: percent(one.accuracy) };
  if (one.learned && one.inside)
    return t("{name} learned, as predicted: {depth} layers are {ratio} ξ, within the 6 ξ that a signal reaches. It reads {accuracy} of the test images.", values);
  if (one.learned)
    return t("{name} learned against the prediction: {depth} layers are {ratio} ξ, more than 6. It reads {accuracy} of the test images.", values);
  if (one.inside)
    return t("{name} did not learn in these steps although {depth} layers are only {ratio} ξ: a signal that arrives is not yet a network that is trained. It reads {accuracy} of the test images.", values);
  if (one.chi < 1)
    return t("{name} did not learn, as predicted: {depth} layers are {ratio} ξ, more than 6, and its gradients vanish on the way back. It reads {accuracy} of the test images.", values);
  return t("{name} did not learn, as predicted: {depth} layers are {ratio} ξ, more than 6, and its gradients explode on the way back. It reads {accuracy} of the test images.", values);
};

const ROWS = [
  ["σ_w", (one) => three(one.sigma)],
  ["hidden layers", (one) => String(one.depth)],
  ["χ, factor of a gradient’s square for each layer", (one) => three(one.chi)],
  ["ξ, depth scale in layers", (one) => three(one.xi)],
  ["depth over ξ; learns up to 6, says the theory", (one) => three(one.ratio)],
  ["training loss of the last step", (one) => three(one.losses.at(-1))],
  ["test accuracy", (one) => percent(one.accuracy)],
  ["first steps that any processor repeats to three digits", (one) => `${one.firm} / ${one.losses.length}`],
];

/** A table of both networks; `fill` writes their numbers into it. */
const readout = () => {
  const heads = CURSORS.map(({ name }) => make("th", { scope: "col" }, name));
  const rows = ROWS.map(([words]) => {
    const cells = CURSORS.map(() => make("td"));
    return { cells, row: make("tr", {}, make("th", { scope: "row" }, t(words)), ...cells) };
  });
  const head = make("thead", {}, make("tr", {}, make("td"), ...heads));
  const body = make("tbody", {}, ...rows.map(({ row }) => row));
  const caption = make("caption", {}, t("The two networks in numbers"));
  const fill = (networks) =>
    rows.forEach(({ cells }, i) =>
      cells.forEach((cell, j) => (cell.textContent = ROWS[i][1](networks[j]))),
    );
  return { table: make("table", { className: "vglab-readout" }, caption, head, body), fill };
};

/** Names the lines and the colours, in words. */
const key = (panel) => {
  const item = (kind, words) => make("li", {}, make("span", { className: `key key-${kind}` }), words);
  panel.stage.before(
    make(
      "ul",
      { className: "vglab-legend" },
      item("reach", t("predicted reach, 6 ξ")),
      item("edge", t("half of the test images read")),
      make("li", {}, t("test accuracy: 0"), make("span", { className: "key key-scale" }), t("1")),
    ),
  );
};

/** Draws what does not move: the map with its axes, the border, the predicted curve. */
const drawMap = (map, area, x, y) => {
  axes(area, {
    x, y, yticks: 5,
    xlabel: x.range()[1] < 400 ? t("σ_w of the weights") : t("σ_w, standard deviation of the weights × √width"),
    ylabel: t("hidden layers"),
  });
  const across = (s) => x.range()[0] + ((x.range()[1] - x.range()[0]) * s) / map.sigmas.length;
  const up = (d) => y.range()[0] + ((y.range()[1] - y.range()[0]) * d) / map.depths.length;
  const cells = map.depths.flatMap((_, d) => map.sigmas.map((_, s) => ({ s, d })));
  area
    .selectAll("rect.network")
    .data(cells)
    .join("rect")
    .attr("class", "network")
    .attr("x", ({ s }) => across(s))
    .attr("y", ({ d }) => up(d + 1))
    .attr("width", across(1) - across(0) + 0.5)
    .attr("height", up(0) - up(1) + 0.5)
    .attr("fill", (at) => d3.interpolateCividis(1 - map.at(at).accuracy));
  const edges = border(map)
    .map(([from, to]) => `M${across(from[0])},${up(from[1])}L${across(to[0])},${up(to[1])}`)
    .join("");
  const reach = d3
    .line()
    .x((_, s) => x(map.sigmas[s]))
    .y((value) => y(value))(map.reach);
  const strokes = [
    ["halo", edges], ["edge", edges], ["halo", reach], ["reach", reach],
  ];
  const clip = area.selectAll("svg.clip").data([0]).join("svg").attr("class", "clip");
  clip.attr("width", x.range()[1]).attr("height", y.range()[0]);
  clip
    .selectAll("path.over")
    .data(strokes)
    .join("path")
    .attr("class", ([kind]) => `over ${kind}`)
    .attr("d", ([, path]) => path);
};

/** A logarithmic scale with a name to every tick. */
const lossScale = (height) =>
  Object.assign(d3.scaleLog(LOSSES, [height, 0]), {
    ticks: () => LOSS_TICKS,
    tickFormat: () => String,
  });

/** Draws the two learning curves. */
const drawCurves = (area, networks, x, y) => {
  axes(area, {
    x, y,
    xlabel: t("step of training"),
    ylabel: t("training loss"),
  });
  area
    .selectAll("path.guessing")
    .data([0])
    .join("path")
    .attr("class", "guessing")
    .attr("d", `M${x.range()[0]},${y(GUESSING)}H${x.range()[1]}`);
  const series = networks.map((one, i) => ({
    name: CURSORS[i].name,
    style: i,
    values: Array.from(one.losses, (loss, step) => [step + 1, loss]),
  }));
  lines(area, series, { x, y, marks: false });
  const last = series.map(({ values }) => y(values.at(-1)[1]));
  const close = Math.abs(last[0] - last[1]) < 14; // the names would lie on each other
  const middle = (last[0] + last[1]) / 2;
  area
    .selectAll("text.end")
    .data(series)
    .join("text")
    .attr("class", "end")
    .attr("x", x.range()[1] + 4)
    .attr("y", (_, i) => (close ? middle + (last[i] <= last[1 - i] && (last[i] < last[1 - i] || i === 0) ? -7 : 7) : last[i]))
    .attr("dy", "0.35em")
    .text((d) => d.name);
  area
    .selectAll("text.guess")
    .data([0])
    .join("text")
    .attr("class", "guess")
    .attr("x", x.range()[0] + 6)
    .attr("y", y.range()[1] + 14)
    .text(t("dotted: guessing, ln 10 = {value}", { value: GUESSING.toFixed(3) }));
};

/** A handle on the map: drag it, or move it with the arrow keys. */
const handle = (panel, map, { name }, cursor, place, changed) => {
  const element = make("div", {
    className: `vglab-cursor ${name.toLowerCase()}`,
    role: "slider",
    tabIndex: 0,
    "aria-label": t("Network {name}: arrow keys left and right change σ_w, up and down the depth", { name }),
    "aria-valuemin": 0,
    "aria-valuemax": map.sigmas.length * map.depths.length - 1,
  }, make("span", {}, name));
  const go = (next) => {
    if (!next || (next.s === cursor.s && next.d === cursor.d)) return;
    Object.assign(cursor, next);
    changed();
  };
  element.addEventListener("keydown", (event) => {
    const next = moved(map, cursor, event.key);
    if (!next) return;
    event.preventDefault();
    go(next);
  });
  element.addEventListener("pointerdown", (event) => element.setPointerCapture(event.pointerId));
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) go(place(event));
  });
  panel.stage.append(element);
  return { element, go };
};

export const build = async (panel) => {
  const [map] = await Promise.all([stored(), styled()]);
  panel.title(t("A network inside the predicted curve, and one outside: which learns?"));
  const cursors = CURSORS.map(({ start }) => ({ ...start }));
  const networks = () => cursors.map((cursor) => map.at(cursor));
  const box = { left: MARGIN.left, top: 8, width: 0, height: 0 };

  const moveBySliders = () => {
    sliders.forEach(({ s, d }, i) => Object.assign(cursors[i], { s: s.value, d: d.value }));
    changed();
  };
  const controls = make("div", { className: "vglab-controls" });
  const { slider } = panel.controls(moveBySliders, controls);
  const sliders = CURSORS.map(({ name }, i) => ({
    s: slider({
      label: t("{name}: weights, σ_w", { name }),
      min: 0, max: map.sigmas.length - 1, step: 1, value: cursors[i].s,
      format: (s) => three(map.sigmas[s]),
    }),
    d: slider({
      label: t("{name}: hidden layers", { name }),
      min: 0, max: map.depths.length - 1, step: 1, value: cursors[i].d,
      format: (d) => String(map.depths[d]),
    }),
  }));
  key(panel);
  const { table, fill } = readout();
  const note = make("p", { className: "vglab-note" }, t("Where only the first steps repeat, the network is chaotic: a change of its weights in the sixth digit, or another processor’s rounding, ends in another curve."));
  panel.element.append(controls, table, note); // below the picture, which has handles of its own

  const place = ({ clientX, clientY }) => {
    const stage = panel.stage.getBoundingClientRect();
    return nearest(
      map,
      (clientX - stage.left - box.left) / box.width,
      1 - (clientY - stage.top - box.top) / box.height,
    );
  };
  const handles = CURSORS.map((look, i) =>
    handle(panel, map, look, cursors[i], place, () => changed()),
  );
  panel.stage.addEventListener("click", (event) => {
    if (event.target.closest(".vglab-cursor")) return;
    const stage = panel.stage.getBoundingClientRect();
    if (event.clientY - stage.top > box.top + box.height) return;
    const at = place(event);
    const far = cursors.map(({ s, d }) => Math.hypot(s - at.s, d - at.d));
    const chosen = handles[far[0] <= far[1] ? 0 : 1];
    chosen.go(at);
    chosen.element.focus({ preventScroll: true });
  });

  const show = () => {
    const two = networks();
    cursors.forEach(({ s, d }, i) => {
      sliders[i].s.value = s;
      sliders[i].d.value = d;
      const { element } = handles[i];
      element.setAttribute("aria-valuenow", d * map.sigmas.length + s);
      element.setAttribute(
        "aria-valuetext",
        t("σ_w {sigma}, {depth} hidden layers: test accuracy {accuracy}", {
          sigma: three(two[i].sigma), depth: two[i].depth, accuracy: percent(two[i].accuracy),
        }),
      );
    });
    fill(two);
    panel.say(CURSORS.map(({ name }, i) => verdict(name, two[i])).join(" "));
  };

  let drawn;
  const svg = draw(
    panel,
    (svg, width) => {
      const inner = width - MARGIN.left - MARGIN.right;
      const [high, low] = width < 480 ? [250, 180] : [320, 210];
      const second = box.top + high + 62;
      const half = (map.sigmas[1] - map.sigmas[0]) / 2;
      const mapArea = svg.selectAll("g.map").data([0]).join("g").attr("class", "map");
      const curves = svg.selectAll("g.curves").data([0]).join("g").attr("class", "curves");
      if (drawn !== width) {
        drawn = width;
        const total = second + low + 50;
        Object.assign(box, { width: inner, height: high });
        svg.attr("width", width).attr("height", total).attr("viewBox", `0 0 ${width} ${total}`);
        mapArea.attr("transform", `translate(${box.left},${box.top})`);
        curves.attr("transform", `translate(${box.left},${second})`);
        const x = d3.scaleLinear([map.sigmas[0] - half, map.sigmas.at(-1) + half], [0, inner]);
        const y = d3.scaleLinear([map.depths[0] - 1, map.depths.at(-1) + 1], [high, 0]);
        drawMap(map, mapArea, x, y);
      }
      cursors.forEach(({ s, d }, i) => {
        const left = box.left + ((s + 0.5) / map.sigmas.length) * box.width;
        const top = box.top + (1 - (d + 0.5) / map.depths.length) * box.height;
        handles[i].element.style.transform = `translate(${left}px,${top}px)`;
      });
      const step = d3.scaleLinear([1, map.settings.steps], [0, inner]);
      drawCurves(curves, networks(), step, lossScale(low));
    },
    {
      label: () =>
        t("Map of test accuracy over σ_w and depth with the predicted curve, and below it the learning curves of networks A and B."),
    },
  );
  svg.attr("class", "vglab-trainability");
  const changed = oncePerFrame(() => {
    show();
    panel.redraw();
  });
  show();
};
