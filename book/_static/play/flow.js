// The gradient flow explorer: the size of activations and gradients, layer by layer, of a network that
// the reader builds. The numbers are flow-model.js's.
import { d3 } from "./d3.js";
import { axes, draw, legend, make, plotArea, SERIES } from "./kit.js";
import { ACTIVATIONS, LIMITS, chi, criticalSigmaW, makeNetwork, predict } from "./flow-model.js";
import { fixed, number, power } from "./numbers.js";
import { t } from "./strings.js";
import { numbersTable } from "./table.js";

const BLANK = { depth: 30, sigmaB: 0, norm: "none", residual: false };
const OLD = { ...BLANK, activation: "sigmoid", sigmaW: 1 };
const PRESETS = {
  "Sigmoid, as in the 1990s": OLD,
  "He + ReLU": { ...BLANK, activation: "relu", sigmaW: Math.SQRT2 },
  "Too large": { ...BLANK, activation: "tanh", sigmaW: 3 },
  "Skip paths + norm": { ...OLD, norm: "layer", residual: true },
};
const DECADES = [2, 4, 6, 9, 12, 16, 20, 26, 34, 44, 60, 80, 110, 150, 220, 300]; // how far a chart reaches from 1, in powers of ten
const MARGIN = { left: 46, right: 34, top: 26, bottom: 46 };
const STEP = 0.02; // of σ_w; the critical value replaces the step next to it

/** How much, for people: 0.042, 3.4, 4900, 10¹⁸. */
const amount = (value) => (value < 1e-3 || value >= 1e5 ? power(value) : number(value, 2));

/** What the picture shows, in words. */
const finding = ({ share, depth, plain, factor, of }) => {
  const measured = () => {
    if (depth === 1) return t("With one hidden layer, the first is also the last.");
    if (!(share > 0)) return t("Nothing reaches the first layer: somewhere on the way, every unit is off.");
    if (share < 0.5) return t("The first layer gets 1 part in {n} of the last layer’s gradient.", { n: amount(1 / share) });
    if (share > 2) return t("The first layer gets {n} times the last layer’s gradient.", { n: amount(share) });
    return t("Gradients pass almost whole: the first layer gets {n} times the last one’s.", { n: fixed(share) });
  };
  const theory = () => {
    if (!plain) return t("The theory is one of plain layers, without skip paths and normalisation.");
    if (of === "weights") return t("The theory drawn is one of ∂J/∂h.");
    const n = fixed(factor);
    if (n === "1.00") return t("Theory says each layer passes it on whole: √χ = 1.00.");
    if (factor < 1) return t("Theory says each layer keeps √χ = {n} of it.", { n });
    return t("Theory says each layer multiplies it by √χ = {n}.", { n });
  };
  return `${measured()} ${theory()}`;
};

/** The controls, those of second rank below the picture, and how to read and set them all. */
const makeControls = (panel, changed, pressed) => {
  const first = panel.controls(changed);
  const more = make("div", { className: "vglab-controls more" });
  panel.element.append(more);
  const second = panel.controls(changed, more);

  const presets = make("div", { className: "vglab-presets vglab-wide", role: "group" });
  presets.setAttribute("aria-label", t("Networks to begin with"));
  panel.element.querySelector(".vglab-controls").append(presets);
  const start = panel.controls(changed, presets);
  for (const [name, preset] of Object.entries(PRESETS)) {
    start.button({ label: t(name) }, () => pressed(preset));
  }
  const sigma = (words, index) => make("span", {}, `${words} σ`, make("sub", {}, index));
  const range = (row, name, label, step, value, format) => {
    const [min, max] = LIMITS[name];
    return row.slider({ label, min, max, step, value, format });
  };
  const state = { critical: Infinity };
  const exact = (value) => (Math.abs(value - state.critical) <= STEP / 2 ? state.critical : value);
  const weights = (value) => {
    const n = fixed(exact(value));
    return exact(value) === state.critical ? t("{n}, critical", { n }) : n;
  };
  const parts = {
    activation: first.menu({
      label: t("Activation φ"),
      options: Object.fromEntries(
        Object.keys(ACTIVATIONS).map((name) => [name, name.replace("_", " ")]),
      ),
      value: "sigmoid",
    }),
    norm: first.menu({
      label: t("Normalisation"),
      options: { none: t("none"), batch: t("batch"), layer: t("layer"), rms: t("RMS") },
      value: "none",
    }),
    sigmaW: range(first, "sigmaW", sigma(t("Weights"), "w"), STEP, 1, weights),
    depth: range(first, "depth", t("Hidden layers"), 1, 30),
    residual: first.toggle({ label: t("Skip paths") }),
    sigmaB: range(second, "sigmaB", sigma(t("Biases"), "b"), 0.05, 0, (value) => fixed(value)),
    width: range(second, "width", t("Units in a layer"), 8, 32),
    of: second.choice({
      label: t("Gradient with respect to"),
      options: { signal: t("activations, ∂J/∂h"), weights: t("weights, ∂J/∂W") },
      value: "signal",
    }),
  };
  first.button({ label: t("Draw anew") }, () => pressed({}));

  let known;
  return {
    read() {
      const settings = Object.fromEntries(
        Object.entries(parts).map(([name, { value }]) => [name, value]),
      );
      const { activation, sigmaB } = settings;
      if (known !== `${activation} ${sigmaB}`) {
        known = `${activation} ${sigmaB}`;
        state.critical = criticalSigmaW(activation, sigmaB);
        parts.sigmaW.mark(state.critical, t("critical: {n}", { n: fixed(state.critical) }));
        parts.sigmaW.tell();
      }
      return { ...settings, sigmaW: exact(settings.sigmaW) };
    },
    write(preset) {
      for (const [name, value] of Object.entries(preset)) parts[name].value = value;
    },
  };
};

/** A logarithmic scale that reaches far enough, in few steps, so that it holds still while dragged. */
const logarithmic = (values, [bottom, top]) => {
  const found = values.filter((value) => value > 0 && Number.isFinite(value)).map(Math.log10);
  const reach = (far) => DECADES.find((decades) => decades >= far) ?? DECADES.at(-1);
  const [low, high] = [reach(-Math.min(0, ...found)), reach(Math.max(0, ...found))];
  return d3.scaleLog([10 ** -Math.min(low, 300), 10 ** Math.min(high, 300)], [bottom, top]);
};

/** About `count` powers of ten that a scale shows, 1 among them. */
const powers = (y, count) => {
  const [low, high] = y.domain().map((value) => Math.round(Math.log10(value)));
  const every = [1, 2, 3, 5, 10, 20, 50, 100].find((step) => (high - low) / step <= count) ?? 200;
  return d3.range(Math.ceil(low / every), high / every + 0.1).map((k) => 10 ** (k * every));
};

/** The one child of this kind and name, made where there is none. */
const child = (parent, kind, name) => {
  const found = parent.select(`:scope > ${kind}.${name}`);
  return found.empty() ? parent.append(kind).attr("class", name) : found;
};

/** The parts of a chart that stay while the dots move: regions around 1, axes, words. */
const ground = (group, { x, y, heading, notes, last }) => {
  const [left, right] = x.range();
  const [bottom, top] = y.range();
  group
    .selectAll("rect.region")
    .data([
      ["vanishing", y(1), bottom],
      ["exploding", top, y(1)],
    ])
    .join("rect")
    .attr("class", ([kind]) => `region ${kind}`)
    .attr("x", left)
    .attr("width", right - left)
    .attr("y", ([, from]) => from)
    .attr("height", ([, from, to]) => to - from);
  axes(group, {
    x,
    y,
    xlabel: last ? t("layer, counted from the input") : "",
    ylabel: "",
    xticks: Math.min(6, x.domain()[1] - 0.5),
    yticks: powers(y, (bottom - top) / 26),
    xformat: (layer) => (last && Number.isInteger(layer) ? layer : ""),
    yformat: (value) => (value === 1 ? "1" : power(value)),
  });
  child(group, "path", "one").attr("d", `M${left},${y(1)}H${right}`);
  const middle = (left + right) / 2;
  const texts = [
    { words: heading, at: top - 9, kind: "heading", anchor: "start", place: left - MARGIN.left },
    { words: notes[0], at: top + 14, kind: "note", anchor: "middle", place: middle },
    { words: notes[1], at: bottom - 7, kind: "note", anchor: "middle", place: middle },
  ].filter(({ words }) => words !== notes[0] || y(1) - top > 24);
  group
    .selectAll("text.told")
    .data(texts)
    .join("text")
    .attr("class", ({ kind }) => `told ${kind}`)
    .attr("text-anchor", ({ anchor }) => anchor)
    .attr("x", ({ place }) => place)
    .attr("y", ({ at }) => at)
    .text(({ words }) => words);
};

/** One chart over the layers: measured dots and the predicted line on their ground. */
const chart = (area, { name, x, range, measured, predicted, ...words }) => {
  const group = child(area, "g", name);
  const y = logarithmic([...measured, ...predicted], range);
  const key = JSON.stringify([x.domain(), x.range(), y.domain(), words]);
  if (group.property("ground") !== key) ground(child(group, "g", "ground"), { x, y, ...words });
  group.property("ground", key);
  const places = (values) =>
    [...values].flatMap((value, l) => (value > 0 ? [`${x(l + 1).toFixed(1)},${y(value).toFixed(1)}`] : []));
  const line = places(predicted);
  child(group, "path", "predicted").attr("d", line.length ? `M${line.join("L")}` : null);
  child(group, "path", "dots").attr("d", places(measured).map((place) => `M${place}h0`).join(""));
};

/** The network as a row of cells, each filled as far as its gradient reaches: half at 1. */
const strip = (area, { x, top, height, shares }) => {
  const group = child(area, "g", "strip");
  const [left, right] = x.range();
  const wide = x(2) - x(1);
  const filled = (share) => Math.min(1, Math.max(0, 0.5 + Math.log10(share) / 12)) || 0;
  const cells = { vanishing: "", level: "", exploding: "" };
  shares.forEach((share, l) => {
    const kind = share > 2 ? "exploding" : share < 0.5 ? "vanishing" : "level";
    const high = height * filled(share);
    cells[kind] += `M${x(l + 0.5)},${top + height}h${wide}v${-high}h${-wide}z`;
  });
  const fills = child(group, "g", "fills");
  for (const [kind, outline] of Object.entries(cells)) child(fills, "path", kind).attr("d", outline);
  const walls = shares.map((_, l) => `M${x(l + 0.5)},${top}v${height}`).join("");
  child(group, "path", "walls").attr("d", `${walls}M${left},${top}H${right}v${height}H${left}`);
  group
    .selectAll("text.end")
    .data([
      [t("input"), left - 6, "end"],
      [t("loss"), right + 6, "start"],
    ])
    .join("text")
    .attr("class", "end note")
    .attr("text-anchor", ([, , anchor]) => anchor)
    .attr("x", ([, at]) => at)
    .attr("y", top + height / 2 + 4)
    .text(([words]) => words);
  return fills;
};

/** The numbers as rows of words: the hidden layers, then the output. */
const rows = ({ found, predicted }) => {
  const { length } = found.size;
  const last = found.gradient[length - 2];
  return Array.from({ length }, (_, l) => [
    l < length - 1 ? String(l + 1) : t("output"),
    number(found.size[l]),
    l < length - 1 ? `${Math.round(100 * found.saturated[l])} %` : "–",
    number(found.gradient[l]),
    l < predicted.gradient.length ? number(predicted.gradient[l] * last) : "–",
    number(found.weightGradient[l]),
  ]);
};

/** Builds the figure in its panel. */
export const build = (panel) => {
  let seed = 1;
  let network = makeNetwork({ width: 32, seed });
  let wave = false;
  const controls = makeControls(panel, panel.redraw, (preset) => {
    if (!Object.keys(preset).length) seed += 1;
    controls.write(preset);
    wave = true;
    panel.redraw();
  });
  let shown;
  const tell = numbersTable(panel, () => ({
    caption: t("Size of activations and norms of gradients, layer by layer"),
    head: [t("layer"), t("size of h"), t("saturated"), "‖∂J/∂h‖", t("theory"), "‖∂J/∂W‖"],
    rows: rows(shown),
  }));
  panel.title(t("How much gradient does each layer get?"));
  legend(panel, [
    { name: t("measured"), look: { color: "var(--figure-ink)", symbol: d3.symbolCircle, dash: "none" } },
    { name: t("theory"), look: { ...SERIES[3], symbol: null } },
  ]);

  const picture = (svg, width) => {
    const { of, width: units, ...settings } = controls.read();
    if (network.width !== units || network.seed !== seed) network = makeNetwork({ width: units, seed });
    const { depth, activation, sigmaW, sigmaB, norm, residual } = settings;
    const found = network.measure(settings);
    const plain = norm === "none" && !residual;
    const predicted = plain ? predict(settings) : { size: [], gradient: [] };
    const gradients = of === "weights" ? found.weightGradient : found.gradient;
    const shares = [...gradients.subarray(0, depth)].map((value) => value / gradients[depth - 1]);

    const area = plotArea(svg, width, 450, MARGIN);
    const x = d3.scaleLinear([0.5, depth + 0.5], [0, width - MARGIN.left - MARGIN.right]);
    chart(area, {
      name: "forward",
      x,
      range: [106, 0],
      measured: found.size.subarray(0, depth),
      predicted: predicted.size,
      heading: t("Forward: size of activations →"),
      notes: [t("signal grows"), t("signal fades")],
    });
    const fills = strip(area, { x, top: 122, height: 34, shares });
    chart(area, {
      name: "backward",
      x,
      range: [378, 190],
      measured: shares,
      predicted: of === "weights" ? [] : predicted.gradient,
      heading: t("← Backward: {what}, last layer = 1", { what: of === "weights" ? "‖∂J/∂W‖" : "‖∂J/∂h‖" }),
      notes: [t("gradient explodes"), t("gradient vanishes")],
      last: true,
    });
    if (wave) {
      fills.classed("wave", false).node().getBoundingClientRect(); // so that it begins anew
      fills.classed("wave", true);
      wave = false;
    }
    shown = { found, predicted };
    tell();
    const factor = plain ? Math.sqrt(chi(activation, sigmaW, sigmaB)) : NaN;
    panel.say(finding({ share: shares[0], depth, plain, factor, of }));
  };
  draw(panel, picture, {
    label: () =>
      t("Two charts over the layers: the size of the activations, and of the gradient, measured and predicted. The table below has the numbers."),
  });
};
