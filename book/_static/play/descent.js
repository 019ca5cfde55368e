// Gradient descent on a surface: four methods from one start, their paths and their losses.
import { d3 } from "./d3.js";
import { SURFACES, WINDOW, descend, excess, rateLimit } from "./descent-model.js";
import { makePicture } from "./descent-picture.js";
import { finding } from "./descent-words.js";
import { makeHandle } from "./handle.js";
import { draw, key, make, SERIES } from "./kit.js";
import { number } from "./numbers.js";
import { playButton } from "./player.js";
import { t } from "./strings.js";
import { numbersTable } from "./table.js";

/** Learning rates from 0.001 to 3, all of them short numbers. */
const LADDER = (() => {
  const mantissas = [...d3.range(20, 40), ...d3.range(40, 100, 2), ...d3.range(100, 200, 5)];
  const decades = [-3, -2, -1, 0].flatMap((e) => mantissas.map((m) => Number(`${m / 20}e${e}`)));
  return decades.filter((eta) => eta <= 3);
})();
const KAPPAS = [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100];
const STEPS = 200;
const STEPS_A_SECOND = 20;
const TABLE_ROWS = 20;

/** A rate and a number of steps at which a surface shows what it is there for. */
const OPENING = {
  valley: { eta: 0.18, steps: 30 },
  curved: { eta: 0.02, steps: 150 },
  saddle: { eta: 0.18, steps: 60 },
  bumpy: { eta: 0.3, steps: 30 },
};

const METHODS = [
  { id: "plain", name: t("plain"), shown: true },
  { id: "momentum", name: t("momentum"), shown: true },
  { id: "rmsprop", name: "RMSprop", shown: false },
  { id: "adam", name: "Adam", shown: false },
].map((method, style) => ({ ...method, style, look: SERIES[style] }));

/** Where a value lies on a ladder of values, as a fractional index. */
const placeOn = (ladder, value) => {
  const after = d3.bisectLeft(ladder, value);
  if (after === 0) return 0;
  if (after === ladder.length) return ladder.length - 1;
  const [low, high] = [ladder[after - 1], ladder[after]];
  return after - 1 + Math.log(value / low) / Math.log(high / low);
};

/** A slider over the values of a ladder; the result's `at` is the value chosen. */
const ladderSlider = (controls, label, ladder, value) => {
  const slider = controls.slider({
    label,
    min: 0,
    max: ladder.length - 1,
    step: 1,
    value: ladder.indexOf(value),
    format: (i) => number(ladder[i]),
  });
  return {
    input: slider.input,
    mark: slider.mark,
    get at() {
      return ladder[slider.value];
    },
    set at(next) {
      slider.value = ladder.indexOf(next);
    },
  };
};

/** Marks 2/λmax on the slider of η, when it has changed: a mark costs a layout. */
const limitMark = (slider) => {
  let marked;
  return ({ kind, surface, start }) => {
    const limit = rateLimit(surface.hessian(...start));
    const values = { limit: number(limit) };
    const words =
      kind === "valley"
        ? t("2/λmax = {limit}", values)
        : t("2/λmax at the start = {limit}", values);
    if (marked === words) return;
    marked = words;
    const there = limit >= LADDER[0] && limit <= LADDER.at(-1);
    slider.mark(there ? placeOn(LADDER, limit) : NaN, words);
  };
};

/** A box to tick for each method, with its line and marker. */
const methodToggles = (panel, parent, changed) => {
  const set = make("fieldset", { className: "vglab-methods" }, make("legend", {}, t("methods")));
  parent.append(set);
  const makers = panel.controls(changed, set);
  return METHODS.map(({ name, style, shown }) => {
    const toggle = makers.toggle({ label: name, value: shown });
    toggle.input.nextElementSibling.prepend(key(style));
    return toggle;
  });
};

const tableOf = ({ runs, steps }) => ({
  caption: t("Parameters and loss above the lowest minimum, step by step"),
  head: [
    t("step"),
    ...runs.flatMap(({ name }) => [`${name} θ₁`, `${name} θ₂`, t("{name} loss", { name })]),
  ],
  rows: [...d3.range(0, steps, Math.ceil(steps / TABLE_ROWS) || 1), steps].map((step) => [
    String(step),
    ...runs.flatMap(({ path, loss }) =>
      step < path.length
        ? [...path[step], loss[step]].map((value) => number(value, 5))
        : ["–", "–", "–"],
    ),
  ]),
});

export const build = (panel) => {
  let kind = "valley";
  let start = SURFACES[kind](1).start;
  let picture;

  panel.title(t("Four ways downhill from one start"));
  const redraw = () => panel.redraw();
  const controls = panel.controls(redraw);
  const options = {
    valley: t("narrow valley, (θ₁² + κθ₂²)/2"),
    curved: t("curved valley, ((1 − θ₁)² + κ(θ₂ − θ₁²)²)/2"),
    saddle: t("saddle between two minima"),
    bumpy: t("two hollows: wide; narrow, deeper"),
  };
  const surfaces = controls.menu({ label: t("surface"), value: kind, options }, () => open());
  const kappa = ladderSlider(controls, t("narrowness κ"), KAPPAS, 10);
  const eta = ladderSlider(controls, t("learning rate η"), LADDER, OPENING[kind].eta);
  const moveLimit = limitMark(eta);
  const steps = controls.slider(
    { label: t("steps"), min: 0, max: STEPS, step: 1, value: OPENING[kind].steps },
    () => {
      player.stop();
      redraw();
    },
  );
  const toggles = methodToggles(panel, steps.input.closest(".vglab-controls"), () => {
    showSettings();
    redraw();
  });
  const mu = controls.slider({
    label: t("momentum’s μ"),
    min: 0,
    max: 0.99,
    step: 0.01,
    value: 0.5,
  });
  const rho = controls.slider({
    label: t("RMSprop’s ρ"),
    min: 0.5,
    max: 0.999,
    step: 0.001,
    value: 0.99,
  });
  const player = playButton(controls, steps, () => STEPS_A_SECOND, redraw);

  /** Only the settings that the picture depends on are there to be set. */
  const showSettings = () => {
    const needed = [
      [kappa, ["valley", "curved"].includes(kind)],
      [mu, toggles[1].value],
      [rho, toggles[2].value],
    ];
    for (const [{ input }, shown] of needed) input.closest(".vglab-slider").hidden = !shown;
  };
  const open = () => {
    player.stop();
    kind = surfaces.value;
    start = SURFACES[kind](1).start;
    [eta.at, steps.value] = [OPENING[kind].eta, OPENING[kind].steps];
    showSettings();
    redraw();
  };
  const handle = makeHandle(panel, {
    label: t(
      "start of the descent; the arrow keys move it, left and right along θ₁, up and down along θ₂",
    ),
    step: 0.1,
    moved(...to) {
      const { middle } = SURFACES[kind](1);
      start = to.map((value, i) => {
        const within = Math.min(Math.max(value, middle[i] - WINDOW), middle[i] + WINDOW);
        return Math.round(within * 100) / 100;
      });
      redraw();
      return start;
    },
    home() {
      start = SURFACES[kind](1).start;
      redraw();
      return start;
    },
  });
  const state = () => {
    const surface = SURFACES[kind](kappa.at);
    const settings = { eta: eta.at, mu: mu.value, rho: rho.value };
    const runs = METHODS.filter(({ style }) => toggles[style].value).map((method) => {
      const path = descend(surface, method.id, settings, start, steps.value);
      return { ...method, path, loss: excess(surface, path) };
    });
    return { kind, kappa: kappa.at, surface, ...settings, start, steps: steps.value, runs };
  };

  showSettings();
  draw(panel, (svg, width) => {
    const now = state();
    if (!picture) {
      picture = makePicture(svg);
      handle.listen(picture.ground);
    }
    const plot = picture.draw(now, width);
    handle.place(plot, start, `θ₁ = ${number(start[0])}, θ₂ = ${number(start[1])}`);
    moveLimit(now);
    panel.say(finding(now));
    updateTable();
  });
  const updateTable = numbersTable(panel, () => tableOf(state()));
};
