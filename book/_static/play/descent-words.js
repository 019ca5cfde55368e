// What a run of gradient descent came to, in words.
import { largestCurvature, rateLimit } from "./descent-model.js";
import { number } from "./numbers.js";
import { t } from "./strings.js";

const NEAR = 0.15; // a path's end counts as in a minimum when it is no further from it

const SAME = 1e-12; // rates that differ by no more than this share are the same

/** How a rate stands to its limit. */
const stands = (eta, limit) => {
  if (eta > limit * (1 + SAME)) return "above";
  return eta < limit * (1 - SAME) ? "below" : "equal";
};

/** On the valley the limit and the factors of a step hold everywhere. */
const onTheValley = ({ surface, kappa, eta, start, runs, mu }) => {
  const limit = rateLimit(surface.hessian(...start));
  const values = {
    eta: number(eta),
    limit: number(limit),
    steep: number(Math.abs(1 - eta * kappa)),
    flat: number(Math.abs(1 - eta)),
  };
  const plain = {
    above: t(
      "η = {eta} is above 2/λmax = {limit}: each plain step makes the error along θ₂ {steep} times as large.",
      values,
    ),
    below: t(
      "η = {eta} is below 2/λmax = {limit}: each plain step leaves {steep} of the error along θ₂ and {flat} of that along θ₁.",
      values,
    ),
    equal: t(
      "η = {eta} is 2/λmax: each plain step turns the error along θ₂ round and leaves its size.",
      values,
    ),
  }[stands(eta, limit)];
  if (!runs.some(({ id }) => id === "momentum")) return plain;
  const moved = { limit: number((1 + mu) * limit) };
  return `${plain} ${t("Momentum moves the limit to 2(1 + μ)/λmax = {limit}.", moved)}`;
};

/** Elsewhere they are those of the curvature at the start, and hold for no more than that. */
const elsewhere = ({ surface, eta, start }) => {
  const hessian = surface.hessian(...start);
  const limit = rateLimit(hessian);
  if (limit === Infinity) {
    return t("At the start the surface curves upwards in no direction, so there is no 2/λmax.");
  }
  const lambda = number(largestCurvature(hessian));
  const values = { eta: number(eta), limit: number(limit), lambda };
  return {
    above: t(
      "At the start λmax = {lambda}, so 2/λmax = {limit}, and it changes on the way; η = {eta} is above it.",
      values,
    ),
    below: t(
      "At the start λmax = {lambda}, so 2/λmax = {limit}, and it changes on the way; η = {eta} is below it.",
      values,
    ),
    equal: t(
      "At the start λmax = {lambda}, so 2/λmax = {limit}, and it changes on the way; η = {eta} is equal to it.",
      values,
    ),
  }[stands(eta, limit)];
};

/** What a run came to: its loss, and the place if the surface has more than one. */
const outcome = ({ kind, surface, steps }, { name, path, loss }) => {
  if (path.length <= steps) {
    return t("{name} left for good at step {step}", { name, step: path.length });
  }
  const value = number(loss.at(-1), 2);
  const from = ([x, y]) => Math.hypot(path.at(-1)[0] - x, path.at(-1)[1] - y);
  const found = surface.minima.findIndex((minimum) => from(minimum) < NEAR);
  if (kind === "bumpy" && found >= 0) {
    return found
      ? t("{name} {value} (in the wide hollow)", { name, value })
      : t("{name} {value} (in the narrow hollow)", { name, value });
  }
  if (surface.saddle && from(surface.saddle) < NEAR) {
    return t("{name} {value} (at the saddle)", { name, value });
  }
  return `${name} ${value}`;
};

/** The finding: the rate and its limit, then the loss of each method. */
export const finding = (state) => {
  const ends = state.runs.map((run) => outcome(state, run)).join(", ");
  const result = ends
    ? t("Loss above the lowest minimum after {steps} steps: {ends}.", { steps: state.steps, ends })
    : t("Choose a method.");
  return `${state.kind === "valley" ? onTheValley(state) : elsewhere(state)} ${result}`;
};
