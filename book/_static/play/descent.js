// Gradient descent on a surface: four methods from one start, their paths and their losses.
import { d3 } from "./d3.js";
import { SURFACES, WINDOW, descend, excess, largestCurvature, rateLimit } from "./descent-model.js";
import { SERIES, axes, calm, key, make } from "./kit.js";
import { marks } from "./marks.js";
import { number, power } from "./numbers.js";
import { t } from "./strings.js";
import { numbersTable } from "./table.js";

const LADDER = (() => {
  const mantissas = [...d3.range(20, 40), ...d3.range(40, 100, 2), ...d3.range(100, 200, 5)];
  const decades = [-3, -2, -1, 0].flatMap((e) => mantissas.map((m) => Number(`${m / 20}e${e}`)));
  return decades.filter((eta) => eta <= 3);
})();
const KAPPAS = [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100];
const STEPS = 200;
const STEPS_A_SECOND = 20;
const LINE_MARKS = 9;
const PATH_MARKS = 70;
const NEAR = 0.15; // a path's end counts as in a minimum when it is no further from it

/** A rate and a number of steps at which a surface shows what it is there for. */
const OPENING = {
  valley: { eta: 0.18, steps: 30 },
  curved: { eta: 0.02, steps: 150 },
  saddle: { eta: 0.18, steps: 60 },
  bumpy: { eta: 0.3, steps: 30 },
};

const METHODS = [
  { id: "plain", name: t("plain") },
  { id: "momentum", name: t("momentum") },
  { id: "rmsprop", name: "RMSprop" },
  { id: "adam", name: "Adam" },
];

/** Where a value lies on a ladder of values, as a fractional index. */
const placeOn = (ladder, value) => {
  const after = d3.bisectLeft(ladder, value);
  if (after === 0) return 0;
  if (after === ladder.length) return ladder.length - 1;
  const [low, high] = [ladder[after - 1], ladder[after]];
  return after - 1 + Math.log(value / low) / Math.log(high / low);
};

/** Where the plain method stands to its limit: exactly on the valley, at the start elsewhere. */
const aboutTheLimit = ({ kind, surface, kappa, eta, start, shown, mu }) => {
  const hessian = surface.hessian(...start);
  const limit = rateLimit(hessian);
  const values = {
    eta: number(eta),
    limit: number(limit),
    lambda: number(largestCurvature(hessian)),
  };
  if (limit === Infinity)
    return t("At the start the surface curves upwards in no direction, so there is no 2/λmax.");
  const below = eta < limit * (1 - 1e-12);
  const above = eta > limit * (1 + 1e-12);
  if (kind !== "valley") {
    const at = t(
      "At the start λmax = {lambda}, so 2/λmax = {limit}, and it changes on the way;",
      values,
    );
    if (above) return `${at} ${t("η = {eta} is above it.", values)}`;
    return `${at} ${below ? t("η = {eta} is below it.", values) : t("η = {eta} is equal to it.", values)}`;
  }
  const factors = { steep: number(Math.abs(1 - eta * kappa)), flat: number(Math.abs(1 - eta)) };
  const withMomentum = t("Momentum moves the limit to 2(1 + μ)/λmax = {limit}.", {
    limit: number((1 + mu) * limit),
  });
  const said = [];
  if (above)
    said.push(
      t(
        "η = {eta} is above 2/λmax = {limit}: each plain step makes the error along θ₂ {steep} times as large.",
        { ...values, ...factors },
      ),
    );
  else if (below)
    said.push(
      t(
        "η = {eta} is below 2/λmax = {limit}: each plain step leaves {steep} of the error along θ₂ and {flat} of that along θ₁.",
        { ...values, ...factors },
      ),
    );
  else
    said.push(
      t(
        "η = {eta} is 2/λmax: each plain step turns the error along θ₂ round and leaves its size.",
        values,
      ),
    );
  if (shown.includes("momentum")) said.push(withMomentum);
  return said.join(" ");
};

/** What a run came to: its loss, and the place if the surface has more than one. */
const outcome = ({ kind, surface, steps }, { name, path, loss }) => {
  if (path.length <= steps)
    return t("{name} left for good at step {step}", { name, step: path.length });
  const value = number(loss.at(-1), 2);
  const from = ([x, y]) => Math.hypot(path.at(-1)[0] - x, path.at(-1)[1] - y);
  const found = surface.minima.findIndex((minimum) => from(minimum) < NEAR);
  if (kind === "bumpy" && found >= 0) {
    return found
      ? t("{name} {value} (in the wide hollow)", { name, value })
      : t("{name} {value} (in the narrow hollow)", { name, value });
  }
  if (surface.saddle && from(surface.saddle) < NEAR)
    return t("{name} {value} (at the saddle)", { name, value });
  return `${name} ${value}`;
};

const finding = (state) => {
  const ends = state.runs.map((run) => outcome(state, run)).join(", ");
  const result = ends
    ? t("Loss above the lowest minimum after {steps} steps: {ends}.", { steps: state.steps, ends })
    : t("Choose a method.");
  return `${aboutTheLimit(state)} ${result}`;
};

/** The contours at equal shares of the map's area, denser near the bottom. */
const contoursOf = (surface) => {
  const size = 90;
  const at = (i) => ((i + 0.5) / size) * 2 * WINDOW - WINDOW;
  const heights = d3
    .range(size * size)
    .map((i) =>
      surface.value(surface.middle[0] + at(i % size), surface.middle[1] + at(Math.floor(i / size))),
    );
  const sorted = Float64Array.from(heights).sort();
  const levels = d3.range(1, 11).map((i) => d3.quantileSorted(sorted, (i / 11) ** 1.5));
  return d3
    .contours()
    .size([size, size])
    .thresholds(levels)(heights)
    .map(({ coordinates }) => ({
      type: "MultiPolygon",
      coordinates: coordinates.map((polygon) =>
        polygon.map((ring) => ring.map(([x, y]) => [x / size, 1 - y / size])),
      ),
    }));
};

/** Draws the axes if they changed: most moves of the start leave them as they are. */
const axesIfNew = (parts, options) => {
  const drawn = JSON.stringify(
    [options.x, options.y].map((scale) => [scale.domain(), scale.range()]),
  );
  if (parts.axes === drawn) return;
  parts.axes = drawn;
  axes(parts.area, options);
};

/** Groups and clip paths of both pictures, made once. */
const scaffold = (svg) => {
  const made = {};
  for (const name of ["map", "loss"]) {
    const id = `vglab-descent-${name}`;
    const clip = svg.append("clipPath").attr("id", id).append("rect");
    const area = svg.append("g");
    const inside = area.append("g").attr("clip-path", `url(#${id})`);
    made[name] = { clip, area, inside };
  }
  made.map.ground = made.map.inside.append("g").attr("class", "vglab-contours");
  made.map.touch = made.map.area.append("rect").attr("class", "vglab-touch");
  return made;
};

const drawSeries = (inside, data) => {
  const groups = inside
    .selectAll("g.series")
    .data(data, (d) => d.id)
    .join((enter) => {
      const group = enter.append("g").attr("class", "series");
      group.append("path").attr("class", "line");
      group.append("path").attr("class", "mark");
      return group;
    })
    .style("color", (d) => d.look.color);
  groups
    .select("path.line")
    .attr("stroke-dasharray", (d) => d.look.dash)
    .attr("d", (d) => d3.line()(d.points));
  groups.select("path.mark").attr("d", (d) => marks(d.marked, d.look.symbol, d.size));
};

export const build = (panel) => {
  let kind = "valley";
  let start = SURFACES.valley(1).start;
  let ground; // [what was drawn, its contours]
  let scales;
  let playing = null;

  panel.title(t("Four ways downhill from one start"));
  const changed = () => panel.redraw();
  const controls = panel.controls(changed);
  const surfaceMenu = controls.menu(
    {
      label: t("surface"),
      value: kind,
      options: {
        valley: t("narrow valley, (θ₁² + κθ₂²)/2"),
        curved: t("curved valley, ((1 − θ₁)² + κ(θ₂ − θ₁²)²)/2"),
        saddle: t("saddle between two minima"),
        bumpy: t("two hollows: wide; narrow, deeper"),
      },
    },
    () => {
      kind = surfaceMenu.value;
      start = SURFACES[kind](1).start;
      stop();
      [etaSlider.value, stepsSlider.value] = [
        LADDER.indexOf(OPENING[kind].eta),
        OPENING[kind].steps,
      ];
      kappaSlider.input.closest(".vglab-slider").hidden = !["valley", "curved"].includes(kind);
      changed();
    },
  );
  const kappaSlider = controls.slider({
    label: t("narrowness κ"),
    min: 0,
    max: KAPPAS.length - 1,
    step: 1,
    value: KAPPAS.indexOf(10),
    format: (i) => number(KAPPAS[i]),
  });
  const etaSlider = controls.slider({
    label: t("learning rate η"),
    min: 0,
    max: LADDER.length - 1,
    step: 1,
    value: LADDER.indexOf(OPENING.valley.eta),
    format: (i) => number(LADDER[i]),
  });
  const limitMark = make("span", { className: "vglab-limit" });
  etaSlider.input.after(limitMark);
  const stepsSlider = controls.slider(
    { label: t("steps"), min: 0, max: STEPS, step: 1, value: OPENING.valley.steps },
    () => {
      stop();
      changed();
    },
  );
  const set = make("fieldset", { className: "vglab-methods" }, make("legend", {}, t("methods")));
  const toggles = METHODS.map(({ id, name }, style) => {
    const toggle = panel
      .controls(changed, set)
      .toggle({ label: name, value: ["plain", "momentum"].includes(id) }, () => {
        showSettings();
        changed();
      });
    toggle.input.nextElementSibling.prepend(key(style));
    return toggle;
  });
  kappaSlider.input.closest(".vglab-controls").append(set);
  const muSlider = controls.slider({
    label: t("momentum’s μ"),
    min: 0,
    max: 0.99,
    step: 0.01,
    value: 0.5,
  });
  const rhoSlider = controls.slider({
    label: t("RMSprop’s ρ"),
    min: 0.5,
    max: 0.999,
    step: 0.001,
    value: 0.99,
  });
  const showSettings = () => {
    muSlider.input.closest(".vglab-slider").hidden = !toggles[1].value;
    rhoSlider.input.closest(".vglab-slider").hidden = !toggles[2].value;
  };
  showSettings();

  const play = controls.button({ label: t("Play") }, () => (playing === null ? begin() : stop()));
  const stop = () => {
    cancelAnimationFrame(playing);
    playing = null;
    play.textContent = t("Play");
  };
  const begin = () => {
    if (calm()) {
      stepsSlider.value = STEPS;
      changed();
      return;
    }
    const first = stepsSlider.value < STEPS ? stepsSlider.value : 0;
    const began = performance.now();
    const advance = (now) => {
      const at = first + Math.floor(((now - began) / 1000) * STEPS_A_SECOND);
      stepsSlider.value = Math.min(Math.max(at, first), STEPS);
      changed();
      if (stepsSlider.value < STEPS) playing = requestAnimationFrame(advance);
      else stop();
    };
    play.textContent = t("Pause");
    playing = requestAnimationFrame(advance);
  };

  const readState = () => {
    const kappa = KAPPAS[kappaSlider.value];
    const surface = SURFACES[kind](kappa);
    const settings = { eta: LADDER[etaSlider.value], mu: muSlider.value, rho: rhoSlider.value };
    const steps = stepsSlider.value;
    const chosen = METHODS.map((method, style) => ({ ...method, look: SERIES[style] })).filter(
      (_, i) => toggles[i].value,
    );
    const runs = chosen.map((method) => {
      const path = descend(surface, method.id, settings, start, steps);
      return { ...method, path, loss: excess(surface, path) };
    });
    return {
      kind,
      surface,
      kappa,
      ...settings,
      start,
      steps,
      runs,
      shown: runs.map(({ id }) => id),
    };
  };

  // The start: one handle for the pointer and the arrow keys.
  const handle = make("div", {
    className: "vglab-handle",
    role: "slider",
    tabIndex: 0,
    "aria-label": t(
      "start of the descent; the arrow keys move it, left and right along θ₁, up and down along θ₂",
    ),
  });
  const moveTo = (x, y) => {
    const { middle } = SURFACES[kind](1);
    const within = (value, about) =>
      Math.round(100 * Math.min(Math.max(value, about - WINDOW), about + WINDOW)) / 100;
    start = [within(x, middle[0]), within(y, middle[1])];
    changed();
  };
  let origin; // of the map on the page, measured once a drag: measuring in each frame costs a layout
  const measure = () => {
    const box = panel.stage.getBoundingClientRect();
    origin = [box.left + scrollX + scales.left, box.top + scrollY + scales.top];
  };
  const follow = (event) =>
    moveTo(scales.x.invert(event.pageX - origin[0]), scales.y.invert(event.pageY - origin[1]));
  const grab = (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    handle.focus({ preventScroll: true });
    handle.setPointerCapture(event.pointerId);
    measure();
    follow(event);
  };
  handle.addEventListener("pointerdown", grab);
  handle.addEventListener("pointermove", (event) => {
    if (handle.hasPointerCapture(event.pointerId)) follow(event);
  });
  handle.addEventListener("keydown", (event) => {
    const towards = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[
      event.key
    ];
    if (!towards && event.key !== "Home") return;
    event.preventDefault();
    if (!towards) return moveTo(...SURFACES[kind](1).start);
    const size = event.shiftKey ? 0.01 : 0.1;
    moveTo(start[0] + size * towards[0], start[1] + size * towards[1]);
  });
  panel.stage.append(handle);
  const tellHandle = () => {
    const { middle } = SURFACES[kind](1);
    const says = { valuemin: middle[0] - WINDOW, valuemax: middle[0] + WINDOW, valuenow: start[0] };
    for (const [name, value] of Object.entries(says)) handle.setAttribute(`aria-${name}`, value);
    handle.setAttribute("aria-valuetext", `θ₁ = ${number(start[0])}, θ₂ = ${number(start[1])}`);
    const [x, y] = [scales.left + scales.x(start[0]), scales.top + scales.y(start[1])];
    handle.style.transform = `translate(${x}px, ${y}px)`;
  };

  const markLimit = ({ surface }) => {
    const limit = rateLimit(surface.hessian(...start));
    limitMark.hidden = !(limit >= LADDER[0] && limit <= LADDER.at(-1));
    const words =
      kind === "valley"
        ? t("2/λmax = {limit}", { limit: number(limit) })
        : t("2/λmax at the start = {limit}", { limit: number(limit) });
    if (limitMark.textContent === words) return;
    limitMark.textContent = words;
    const share = placeOn(LADDER, limit) / (LADDER.length - 1);
    limitMark.style.setProperty("--at", share);
    limitMark.classList.toggle("ends", share > 0.5);
  };

  const drawMap = (parts, state, side) => {
    const { middle } = state.surface;
    const x = d3.scaleLinear([middle[0] - WINDOW, middle[0] + WINDOW], [0, side]);
    const y = d3.scaleLinear([middle[1] - WINDOW, middle[1] + WINDOW], [side, 0]);
    axesIfNew(parts, { x, y, xlabel: "θ₁", ylabel: "θ₂", xticks: 5, yticks: 5 });
    const drawn = `${kind} ${state.kappa}`;
    if (ground?.drawn !== drawn) ground = { drawn, contours: contoursOf(state.surface) };
    if (parts.drawn !== `${drawn} ${side}`) {
      parts.drawn = `${drawn} ${side}`;
      const outline = d3.geoPath(d3.geoIdentity().scale(side));
      parts.ground
        .selectAll("path.level")
        .data(ground.contours)
        .join((enter) => enter.insert("path", ".vglab-minimum").attr("class", "level"))
        .attr("d", outline);
      parts.ground
        .selectAll("path.vglab-minimum")
        .data(state.surface.minima)
        .join("path")
        .attr("class", "vglab-minimum")
        .attr("d", d3.symbol(d3.symbolStar, 90)())
        .attr("transform", (d) => `translate(${x(d[0])},${y(d[1])})`);
      parts.clip.attr("width", side).attr("height", side);
      parts.touch.attr("width", side).attr("height", side);
    }
    const every = Math.ceil(state.steps / PATH_MARKS) || 1;
    const far = 4 * side; // beyond the picture: drawing further out takes time and shows nothing
    const place = (value, scale) => Math.min(Math.max(scale(value), -far), far);
    drawSeries(
      parts.inside,
      state.runs.map((run) => {
        const points = run.path.map((at) => [place(at[0], x), place(at[1], y)]);
        return { ...run, points, marked: points.filter((_, i) => i % every === 0), size: 16 };
      }),
    );
    return { x, y };
  };

  const drawLoss = (parts, state, width, height) => {
    const losses = state.runs.flatMap(({ loss }) => loss).filter((loss) => loss > 0);
    const first = Math.max(excess(state.surface, [start])[0], 1e-3);
    const high = Math.min(Math.max(d3.max(losses) ?? 1, first), 1e3 * first);
    const low = Math.min(Math.max(d3.min(losses) ?? high / 10, 1e-15 * high), high / 10);
    const x = d3.scaleLinear([0, Math.max(state.steps, 5)], [0, width]);
    const y = d3.scaleLog([low, high], [height, 0]).nice();
    const decades = Math.log10(y.domain()[1] / y.domain()[0]);
    axesIfNew(parts, {
      x,
      y,
      xlabel: t("step t"),
      ylabel: t("loss above the minimum"),
      xticks: 5,
      yticks: Math.min(decades, 6),
      yformat: power,
    });
    parts.clip.attr("width", width).attr("height", height);
    const place = (loss) => y(Math.min(Math.max(loss, low / 1e3), high * 1e3));
    const apart = Math.max(1, Math.ceil(state.steps / LINE_MARKS));
    drawSeries(
      parts.inside,
      state.runs.map((run, i) => {
        const points = run.loss.map((loss, step) => [x(step), place(loss)]);
        const shift = Math.floor((apart * i) / METHODS.length); // so that no marker hides another
        return {
          ...run,
          points,
          marked: points.filter((_, step) => step % apart === shift),
          size: 34,
        };
      }),
    );
  };

  let parts;
  panel.draw((svg, width) => {
    const state = readState();
    if (!parts) {
      parts = scaffold(svg);
      parts.map.touch.on("pointerdown", (event) => event.pointerType !== "touch" && grab(event));
      parts.map.touch.on("click", (event) => {
        measure();
        follow(event);
      });
    }
    const margin = { left: 52, right: 12, top: 10, bottom: 48 };
    const beside = width >= 600;
    const room = beside ? width / 2 : width;
    const side = Math.min(room, 440) - margin.left - margin.right;
    const height = beside ? side : 170;
    const below = margin.top + side + margin.bottom + 14;
    svg.attr("width", width).attr("height", beside ? below - 14 : below + height + margin.bottom);
    parts.map.area.attr("transform", `translate(${margin.left},${margin.top})`);
    const across = beside ? room + margin.left + 6 : margin.left;
    parts.loss.area.attr("transform", `translate(${across},${beside ? margin.top : below})`);
    const plotted = drawMap(parts.map, state, side);
    drawLoss(parts.loss, state, beside ? width - across - margin.right : side, height);
    scales = { ...plotted, left: margin.left, top: margin.top };
    tellHandle();
    markLimit(state);
    panel.say(finding(state));
    updateTable();
  });

  const updateTable = numbersTable(panel, () => {
    const { runs, steps } = readState();
    const rows = d3.range(0, steps, Math.ceil(steps / 20) || 1).concat(steps);
    return {
      caption: t("Parameters and loss above the lowest minimum, step by step"),
      head: [
        t("step"),
        ...runs.flatMap(({ name }) => [`${name} θ₁`, `${name} θ₂`, t("{name} loss", { name })]),
      ],
      rows: rows.map((step) => [
        String(step),
        ...runs.flatMap(({ path, loss }) =>
          step < path.length
            ? [...path[step], loss[step]].map((value) => number(value, 5))
            : ["–", "–", "–"],
        ),
      ]),
    };
  });
};
