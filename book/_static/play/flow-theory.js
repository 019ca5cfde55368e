// Activations as PyTorch has them, and what mean-field theory predicts of them: vglab.models.ACTIVATIONS
// and vglab.theory in JavaScript (Poole et al. 2016; Schoenholz et al. 2017).

const UNBOUNDED = 1e12; // a variance beyond this counts as infinite
const SELU_SCALE = 1.0507009873554805;
const SELU_ALPHA = 1.6732632423543772;
const density = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

/** The normal distribution function: a half plus density times z + z³/3 + z⁵/(3·5) + … */
const normalBelow = (z) => {
  if (Math.abs(z) > 8.5) return z > 0 ? 1 : 0;
  let term = z;
  let sum = z;
  for (let k = 3; Math.abs(term) > 1e-17 * Math.abs(sum); k += 2) {
    term *= (z * z) / k;
    sum += term;
  }
  return 0.5 + density(z) * sum;
};

const logistic = (z) => 1 / (1 + Math.exp(-z));

/** An activation: φ(z), its slope from z and h = φ(z), and where the slope jumps besides 0. */
const activation = (value, slope, kinks = []) => ({ value, slope, kinks });

/** Name -> activation, in vglab's order. */
export const ACTIVATIONS = {
  linear: activation((z) => z, () => 1),
  sigmoid: activation(logistic, (z, h) => h * (1 - h)),
  tanh: activation(Math.tanh, (z, h) => 1 - h * h),
  relu: activation((z) => (z > 0 ? z : 0), (z) => (z > 0 ? 1 : 0)),
  leaky_relu: activation((z) => (z > 0 ? z : 0.01 * z), (z) => (z > 0 ? 1 : 0.01)),
  elu: activation((z) => (z > 0 ? z : Math.expm1(z)), (z, h) => (z > 0 ? 1 : h + 1)),
  selu: activation(
    (z) => SELU_SCALE * (z > 0 ? z : SELU_ALPHA * Math.expm1(z)),
    (z, h) => (z > 0 ? SELU_SCALE : h + SELU_SCALE * SELU_ALPHA),
  ),
  gelu: activation(
    (z) => z * normalBelow(z),
    (z, h) => (z === 0 ? 0.5 : h / z) + z * density(z),
  ),
  silu: activation(
    (z) => z * logistic(z),
    (z, h) => logistic(z) * (1 - h) + h,
  ),
  softplus: activation((z) => (z > 20 ? z : Math.log1p(Math.exp(z))), logistic),
  hard_tanh: activation(
    (z) => Math.min(1, Math.max(-1, z)),
    (z) => (Math.abs(z) < 1 ? 1 : 0),
    [1],
  ),
};

/** Points in (-1, 1) and weights of Gauss and Legendre's quadrature, by Newton's method. */
const legendre = (n) =>
  Array.from({ length: n }, (_, k) => {
    let x = Math.cos((Math.PI * (k + 0.75)) / (n + 0.5));
    for (let round = 0; ; round += 1) {
      let [before, now] = [1, x];
      for (let j = 2; j <= n; j += 1) {
        [before, now] = [now, ((2 * j - 1) * x * now - (j - 1) * before) / j];
      }
      const slope = (n * (x * now - before)) / (x * x - 1);
      if (round === 8) return [x, 2 / ((1 - x * x) * slope * slope)];
      x -= now / slope;
    }
  });

const RULE = legendre(8);
const EDGES = [0, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 2, 3, 4.5, 6.5, 9];

/** Points and weights for averages over a standard normal z; no piece holds a kink inside. */
const quadrature = (kinks) => {
  const edges = [...EDGES, ...kinks.filter((kink) => kink < EDGES.at(-1))].sort((a, b) => a - b);
  const points = [];
  for (let k = 1; k < edges.length; k += 1) {
    const [middle, half] = [(edges[k] + edges[k - 1]) / 2, (edges[k] - edges[k - 1]) / 2];
    for (const [x, weight] of RULE) {
      const z = middle + half * x;
      points.push([z, half * weight * density(z)], [-z, half * weight * density(z)]);
    }
  }
  const total = points.reduce((sum, [, weight]) => sum + weight, 0);
  return points.map(([z, weight]) => [z, weight / total]);
};

const SMOOTH = quadrature([]);

/** `E[f(√q z)²]`, z ~ N(0, 1), of an activation's `f(x)`. */
const average = ({ kinks }, q, f) => {
  const root = Math.sqrt(q);
  let sum = 0;
  for (const [z, weight] of kinks.length ? quadrature(kinks.map((k) => k / root)) : SMOOTH) {
    const found = f(root * z);
    sum += weight * found * found;
  }
  return sum;
};

export const meanSquare = (name, q) => average(ACTIVATIONS[name], q, ACTIVATIONS[name].value);

export const meanSquareSlope = (name, q) => {
  const { value, slope } = ACTIVATIONS[name];
  return average(ACTIVATIONS[name], q, (x) => slope(x, value(x)));
};

/** Where a function changes its sign between a and b: regula falsi, as Illinois has it. */
const root = (f, a, b) => {
  let [fa, fb] = [f(a), f(b)];
  for (let round = 0; round < 200 && fa !== 0 && Math.abs(b - a) > 1e-13 * Math.abs(b); round += 1) {
    const c = (a * fb - b * fa) / (fb - fa);
    const fc = f(c);
    if (fc === 0) return c;
    if (fc > 0 === fb > 0) fa /= 2;
    else [a, fa] = [b, fb];
    [b, fb] = [c, fc];
  }
  return fa === 0 ? a : b;
};

/** Variance q* of the pre-activations that deep layers settle at, from inputs of variance 1. */
export const varianceFixedPoint = (name, sigmaW, sigmaB) => {
  const growth = (q) => sigmaW ** 2 * meanSquare(name, q) + sigmaB ** 2 - q;
  const start = growth(1);
  if (Math.abs(start) < 1e-7) return 1;
  const step = start > 0 ? 2 : 0.5;
  let [near, far] = [1, step];
  while (growth(far) > 0 === start > 0) {
    [near, far] = [far, far * step];
    if (far > UNBOUNDED) return Infinity;
    if (far < 1 / UNBOUNDED) return 0;
  }
  return root(growth, near, far);
};

/** Factor χ of a gradient's squared norm for each layer that it crosses. */
export const chi = (name, sigmaW, sigmaB) => {
  const q = varianceFixedPoint(name, sigmaW, sigmaB);
  return sigmaW ** 2 * meanSquareSlope(name, Math.min(Math.max(q, 1 / UNBOUNDED), UNBOUNDED));
};

/** Layers over which a gradient's squared norm changes by the factor e. */
export const depthScale = (factor) => {
  if (factor === 0) return 0;
  return Math.abs(factor - 1) < 1e-6 ? Infinity : 1 / Math.abs(Math.log(factor));
};

const searchCritical = (name, sigmaB) => {
  const vanishes = (sigmaW) => chi(name, sigmaW, sigmaB) < 1;
  let low = 0;
  let high = 0.1;
  while (vanishes(high)) {
    if (high > 99.9) return Infinity;
    [low, high] = [high, high * 10 ** 0.05];
  }
  while (high - low > 1e-9 * high) {
    const middle = (low + high) / 2;
    if (vanishes(middle)) low = middle;
    else high = middle;
  }
  return high;
};

const known = new Map(); // the search takes milliseconds, and pictures ask in every frame

/** Smallest σ_w above which gradients no longer vanish; infinite where there is none up to 100. */
export const criticalSigmaW = (name, sigmaB) => {
  const key = `${name} ${sigmaB}`;
  if (!known.has(key)) known.set(key, searchCritical(name, sigmaB));
  return known.get(key);
};

/**
 * What theory expects of each of `depth` hidden layers, whose first one's inputs have mean square 1.
 *
 * `size`: root mean square of the activations; `gradient`: norm of the gradient with respect to
 * them, the last being 1. Layer by layer, so also where the fixed point is not reached yet; there,
 * each layer keeps √χ of the gradient.
 */
export const predict = ({ activation: name, sigmaW, sigmaB, depth }) => {
  const size = new Float64Array(depth);
  const factors = new Float64Array(depth);
  let q = sigmaW ** 2 + sigmaB ** 2;
  for (let l = 0; l < depth; l += 1) {
    const square = meanSquare(name, q);
    size[l] = Math.sqrt(square);
    factors[l] = sigmaW * Math.sqrt(meanSquareSlope(name, q));
    q = sigmaW ** 2 * square + sigmaB ** 2;
  }
  const gradient = new Float64Array(depth).fill(1);
  for (let l = depth - 2; l >= 0; l -= 1) gradient[l] = gradient[l + 1] * factors[l + 1];
  return { size, gradient };
};
