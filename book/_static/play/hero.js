// The front page's living picture: gradients that vanish, and return, in a network computed here.
import { criticalSigmaW, makeNetwork, predict } from "./flow-model.js";
import { power } from "./numbers.js";
import { calm, make } from "./panel.js";

const [DEPTH, WIDTH, SHOWN] = [32, 64, 16]; // layers, units of a layer, units in the picture
const DECADES = 4; // a dot's radius falls to nothing over so many powers of ten
const GROWN = 3; // gradients larger than this, as a multiple of the last layer's, get another colour
const REACH = 0.6; // the weights go from 2^-REACH to 2^REACH times the critical size
const PERIOD = 14; // seconds from small weights to large ones and back
const SWEEPS = 2; // after which the picture rests
const EVERY = 0.08; // seconds from one computation to the next; the wave moves in every frame
const PASS = 2.4; // seconds in which a wave runs from the loss to the input
const KINDS = { tanh: "tanh", relu: "ReLU", sigmoid: "sigmoid" };

/** Radius of a dot as a share of its cell, from a gradient as a multiple of the last layer's. */
export const radius = (size) => Math.min(Math.max(1 + Math.log10(size) / DECADES, 0), 1.25);

/** How a small share of something is said: 0.000512 is "one part in 2,000". */
export const part = (share, t) => {
  if (share >= 1.5) return t("{n} times as much", { n: Number(share.toPrecision(2)).toLocaleString("en") });
  if (share > 0.67) return t("all of it");
  const parts = 1 / share;
  const n = parts < 1e6 ? Number(parts.toPrecision(1)).toLocaleString("en") : power(parts);
  return t("one part in {n}", { n });
};

/** Lets the browser draw, and answer its reader, before the next piece of work. */
const breath = () => new Promise((done) => setTimeout(done));

/** The network, its weights drawn a few layers at a time. */
const makeNetworkGently = async () => {
  const network = makeNetwork({ width: WIDTH, seed: 1, batch: 4 });
  for (let layer = 0; layer <= DEPTH; layer += 1) {
    network.layer(layer);
    if (layer % 4 === 3) await breath();
  }
  return network;
};

const makePicture = (stage) => {
  const canvas = make("canvas", { role: "img" });
  stage.append(canvas);
  const context = canvas.getContext("2d");

  /** Draws sizes [DEPTH][SHOWN]; `wave` is the layer at which the travelling wave stands, or null. */
  const paint = (sizes, wave) => {
    const width = stage.clientWidth;
    const pitch = width / DEPTH;
    const ratio = devicePixelRatio;
    const [across, down] = [Math.round(width * ratio), Math.round(pitch * SHOWN * ratio)];
    if (canvas.width !== across || canvas.height !== down) {
      [canvas.width, canvas.height] = [across, down];
      canvas.style.height = `${pitch * SHOWN}px`;
    }
    const style = getComputedStyle(stage);
    const [usual, grown] = ["--figure-blue", "--figure-orange"].map((n) => style.getPropertyValue(n));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, pitch * SHOWN);
    sizes.forEach((column, layer) => {
      const near = wave === null ? 0 : Math.exp(-(((layer - wave) / 1.6) ** 2));
      column.forEach((size, unit) => {
        const share = radius(size) * (1 + 0.16 * near);
        if (share < 0.02) return;
        context.fillStyle = size > GROWN ? grown : usual;
        context.globalAlpha = wave === null ? 1 : 0.78 + 0.22 * near;
        context.beginPath();
        context.arc(pitch * (layer + 0.5), pitch * (unit + 0.5), 0.4 * pitch * share, 0, 2 * Math.PI);
        context.fill();
      });
    });
  };
  return { canvas, paint };
};

/** Builds the figure in a panel of panel.js. */
export const build = async (panel) => {
  const { t } = panel;
  panel.title(t("Thirty-two layers, and what reaches each of their units"));
  const network = await makeNetworkGently();
  criticalSigmaW("tanh", 0); // a search, whose result is remembered
  await breath();
  const { canvas, paint } = makePicture(panel.stage);
  panel.stage.append(
    make("p", { className: "vglab-ends" }, make("span", {}, t("input")), make("span", {}, t("loss"))),
  );
  let sizes = [];
  let began = null; // when the sweep began; null while it rests
  let computed = 0; // when the sizes were, in seconds of the sweep
  let visible = true;
  let wave = null;

  const critical = () => criticalSigmaW(kind.value, 0);
  const format = (power) => (critical() * 2 ** power).toFixed(2);
  const controls = panel.controls(() => {
    stop();
    show();
  });
  const kind = controls.choice({ label: t("Activation"), options: KINDS, value: "tanh" });
  const slider = controls.slider({
    label: t("Size of the weights, σ_w"), min: -REACH, max: REACH, step: 0.01, value: -0.35, format,
  });
  const button = controls.button({ label: t("Pause") }, () => (began === null ? start() : stop()));

  const measure = () => {
    const settings = { depth: DEPTH, activation: kind.value, sigmaW: critical() * 2 ** slider.value };
    const columns = [];
    const { gradient } = network.measure(settings, (layer, g) => {
      columns[layer - 1] = Array.from(g.subarray(0, SHOWN), Math.abs);
    });
    const top = gradient[DEPTH - 1] / Math.sqrt(WIDTH * network.batch);
    sizes = columns.map((column) => column.map((size) => size / top));
    const share = part(gradient[0] / gradient[DEPTH - 1], t);
    const expected = part(predict({ ...settings, sigmaB: 0 }).gradient[0], t);
    panel.say(
      t("Of the last layer’s gradient the first layer gets {share}. Theory for wide layers, which has seen no weight, says {expected}.", { share, expected }),
    );
  };

  const show = () => {
    slider.value = slider.value; // its words depend on the activation
    measure();
    paint(sizes, wave);
  };

  const tick = (now) => {
    if (began === null) return;
    const seconds = (now - began) / 1000;
    if (seconds > SWEEPS * PERIOD) {
      stop();
      return;
    }
    if (visible) {
      wave = DEPTH + 3 - ((seconds / PASS) % 1) * (DEPTH + 6);
      if (seconds - computed > EVERY) {
        computed = seconds;
        slider.value = -REACH * Math.cos((2 * Math.PI * seconds) / PERIOD + 0.6);
        measure();
      }
      paint(sizes, wave);
    }
    requestAnimationFrame(tick);
  };
  const start = () => {
    began = performance.now();
    computed = -EVERY;
    button.textContent = t("Pause");
    requestAnimationFrame(tick);
  };
  const stop = () => {
    began = wave = null;
    button.textContent = t("Play");
    show();
  };

  canvas.setAttribute("aria-label", t("Columns of dots, one for each layer, as large as the gradients of its units."));
  new IntersectionObserver(([entry]) => (visible = entry.isIntersecting)).observe(canvas);
  panel.draws(() => paint(sizes, wave));
  new MutationObserver(() => paint(sizes, wave)).observe(document.documentElement, {
    attributeFilter: ["data-theme"],
  });
  await breath();
  measure();
  if (calm()) stop();
  else start();
};
