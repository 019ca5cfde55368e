// Functions of two parameters, and four ways down them. No drawing here.

/** A path ends where it is further from the origin than this: it has left for good. */
export const FAR = 1e6;

const square = (x) => x * x;

/** Newton's method from nearby: the minima of the surfaces that have no formula for them. */
const settle = ({ gradient, hessian }, near) => {
  let [x, y] = near;
  for (let i = 0; i < 50; i += 1) {
    const [gx, gy] = gradient(x, y);
    const [a, b, c] = hessian(x, y);
    const determinant = a * c - b * b;
    x -= (c * gx - b * gy) / determinant;
    y -= (a * gy - b * gx) / determinant;
  }
  return [x, y];
};

const WELLS = [
  { at: [0.9, 0.5], depth: 1, steep: 6 },
  { at: [-0.9, -0.4], depth: 0.7, steep: 1.2 },
];

const bumpy = {
  value: (x, y) =>
    WELLS.reduce(
      (sum, { at, depth, steep }) =>
        sum - depth * Math.exp(-steep * (square(x - at[0]) + square(y - at[1]))),
      (x * x + y * y) / 10,
    ),
  gradient: (x, y) =>
    WELLS.reduce(
      ([gx, gy], { at, depth, steep }) => {
        const [dx, dy] = [x - at[0], y - at[1]];
        const slope = 2 * steep * depth * Math.exp(-steep * (dx * dx + dy * dy));
        return [gx + slope * dx, gy + slope * dy];
      },
      [x / 5, y / 5],
    ),
  hessian: (x, y) =>
    WELLS.reduce(
      ([a, b, c], { at, depth, steep }) => {
        const [dx, dy] = [x - at[0], y - at[1]];
        const slope = 2 * steep * depth * Math.exp(-steep * (dx * dx + dy * dy));
        return [
          a + slope * (1 - 2 * steep * dx * dx),
          b - slope * 2 * steep * dx * dy,
          c + slope * (1 - 2 * steep * dy * dy),
        ];
      },
      [0.2, 0, 0.2],
    ),
};

/**
 * The surfaces, each a function of κ: `value`, `gradient` [∂₁, ∂₂], `hessian` [H₁₁, H₁₂, H₂₂],
 * the minima with the lowest first, the middle of the map (its half width is `WINDOW`) and a start.
 */
export const SURFACES = {
  valley: (kappa) => ({
    value: (x, y) => (x * x + kappa * y * y) / 2,
    gradient: (x, y) => [x, kappa * y],
    hessian: () => [1, 0, kappa],
    minima: [[0, 0]],
    middle: [0, 0],
    start: [-1.8, 0.5],
  }),
  curved: (kappa) => ({
    value: (x, y) => (square(1 - x) + kappa * square(y - x * x)) / 2,
    gradient: (x, y) => [x - 1 - 2 * kappa * x * (y - x * x), kappa * (y - x * x)],
    hessian: (x, y) => [1 - 2 * kappa * (y - 3 * x * x), -2 * kappa * x, kappa],
    minima: [[1, 1]],
    middle: [0, 1],
    start: [-1.2, 1.9],
  }),
  saddle: () => ({
    value: (x, y) => (x * x - y * y) / 2 + y ** 4 / 4,
    gradient: (x, y) => [x, y * y * y - y],
    hessian: (x, y) => [1, 0, 3 * y * y - 1],
    minima: [
      [0, 1],
      [0, -1],
    ],
    saddle: [0, 0],
    middle: [0, 0],
    start: [-1.7, 0.001],
  }),
  bumpy: () => ({
    ...bumpy,
    minima: WELLS.map(({ at }) => settle(bumpy, at)),
    middle: [0, 0],
    start: [1.3, 1.2],
  }),
};

export const WINDOW = 2;

/** The largest eigenvalue of a Hessian [H₁₁, H₁₂, H₂₂]. */
export const largestCurvature = ([a, b, c]) => (a + c) / 2 + Math.hypot((a - c) / 2, b);

/** 2 / λmax: above it, plain gradient descent climbs out of this curvature. */
export const rateLimit = (hessian) => {
  const largest = largestCurvature(hessian);
  return largest > 0 ? 2 / largest : Infinity;
};

/** Each method makes, from its settings, a function from gradient to step, with its own memory. */
const METHODS = {
  plain:
    ({ eta }) =>
    (g) =>
      g.map((each) => eta * each),
  momentum: ({ eta, mu }) => {
    let speed = [0, 0];
    return (g) => {
      speed = g.map((each, i) => mu * speed[i] + each);
      return speed.map((each) => eta * each);
    };
  },
  rmsprop: ({ eta, rho, eps = 1e-8 }) => {
    let mean = [0, 0];
    return (g) => {
      mean = g.map((each, i) => rho * mean[i] + (1 - rho) * each * each);
      return g.map((each, i) => (eta * each) / (Math.sqrt(mean[i]) + eps));
    };
  },
  adam: ({ eta, beta1 = 0.9, beta2 = 0.999, eps = 1e-8 }) => {
    let [speed, mean, t] = [[0, 0], [0, 0], 0];
    return (g) => {
      t += 1;
      speed = g.map((each, i) => beta1 * speed[i] + (1 - beta1) * each);
      mean = g.map((each, i) => beta2 * mean[i] + (1 - beta2) * each * each);
      const [grown, full] = [1 - beta1 ** t, Math.sqrt(1 - beta2 ** t)];
      return speed.map((each, i) => ((eta / grown) * each) / (Math.sqrt(mean[i]) / full + eps));
    };
  },
};

/**
 * The path of one method: `steps` + 1 points [θ₁, θ₂], fewer where it leaves for good. Settings:
 * η `eta`, momentum μ `mu`, RMSprop's ρ `rho`; all other constants are torch's defaults.
 */
export const descend = (surface, method, settings, start, steps) => {
  const step = METHODS[method](settings);
  const path = [start];
  let [x, y] = start;
  while (path.length <= steps) {
    const [dx, dy] = step(surface.gradient(x, y));
    [x, y] = [x - dx, y - dy];
    if (!(Math.hypot(x, y) <= FAR)) break;
    path.push([x, y]);
  }
  return path;
};

/** Loss above the lowest minimum, at each point of a path. */
export const excess = (surface, path) => {
  const lowest = surface.value(...surface.minima[0]);
  return path.map(([x, y]) => Math.max(surface.value(x, y) - lowest, 0));
};
