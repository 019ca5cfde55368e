// A deep network in the browser: vglab.models.MLP with mean-field weights, one batch forward and back,
// and for each layer the numbers of vglab.probe. No document is touched here.
import { ACTIVATIONS } from "./flow-theory.js";

export * from "./flow-theory.js";

/** What the explorer's controls allow. */
export const LIMITS = {
  depth: [1, 50],
  width: [8, 48], // with 50 layers, what fits in a frame of 16 ms
  sigmaW: [0.1, 4],
  sigmaB: [0, 1],
};
export const CLASSES = 10;
export const NORMS = ["none", "batch", "layer", "rms"];
const SATURATED = 0.05; // a unit is saturated where |φ'| is below this share of its largest value
const EPSILON = { batch: 1e-5, layer: 1e-5, rms: 2 ** -23 }; // PyTorch's, in single precision

/** Whole numbers below 2³² of the generator sfc32; each seed and stream has a sequence of its own. */
const generator = (seed, stream) => {
  let [a, b, c, d] = [seed | 0, stream | 0, 0x9e3779b9 | 0, 1];
  const next = () => {
    const out = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + out) | 0;
    return out >>> 0;
  };
  for (let round = 0; round < 15; round += 1) next();
  return next;
};

/** `count` standard normal numbers (Box and Muller 1958). */
const normals = (count, seed, stream) => {
  const next = generator(seed, stream);
  const uniform = () => (next() + 0.5) / 2 ** 32;
  const out = new Float64Array(count);
  for (let k = 0; k < count; k += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    out[k] = radius * Math.cos(angle);
    if (k + 1 < count) out[k + 1] = radius * Math.sin(angle);
  }
  return out;
};

const transposed = (matrix, rows, columns) => {
  const out = new Float64Array(matrix.length);
  for (let r = 0; r < rows; r += 1) {
    for (let c = 0; c < columns; c += 1) out[c * rows + r] = matrix[r * columns + c];
  }
  return out;
};

/**
 * `out[n, o] = scale · Σ_i x[n, i] w[o, i]`, for four examples and two outputs at a time: what is
 * read once is used often. `batch` is a multiple of four, `outer` of two.
 */
const product = (x, w, out, batch, inner, outer, scale) => {
  for (let n = 0; n < batch; n += 4) {
    const n0 = n * inner;
    const n1 = n0 + inner;
    const n2 = n1 + inner;
    const n3 = n2 + inner;
    for (let o = 0; o < outer; o += 2) {
      const even = o * inner;
      const odd = even + inner;
      let [a0, a1, a2, a3] = [0, 0, 0, 0];
      let [b0, b1, b2, b3] = [0, 0, 0, 0];
      for (let i = 0; i < inner; i += 1) {
        const a = w[even + i];
        const b = w[odd + i];
        const x0 = x[n0 + i];
        const x1 = x[n1 + i];
        const x2 = x[n2 + i];
        const x3 = x[n3 + i];
        a0 += a * x0;
        a1 += a * x1;
        a2 += a * x2;
        a3 += a * x3;
        b0 += b * x0;
        b1 += b * x1;
        b2 += b * x2;
        b3 += b * x3;
      }
      const at = n * outer + o;
      out[at] = scale * a0;
      out[at + 1] = scale * b0;
      out[at + outer] = scale * a1;
      out[at + outer + 1] = scale * b1;
      out[at + 2 * outer] = scale * a2;
      out[at + 2 * outer + 1] = scale * b2;
      out[at + 3 * outer] = scale * a3;
      out[at + 3 * outer + 1] = scale * b3;
    }
  }
};

const squares = (values) => {
  let sum = 0;
  for (let k = 0; k < values.length; k += 1) sum += values[k] * values[k];
  return sum;
};

/** Norm of δᵀh, the gradient of a layer's weights, from the examples' inner products. */
const weightGradientNorm = (delta, h, batch, outer, inner) => {
  const above = new Float64Array(batch * batch);
  const below = new Float64Array(batch * batch);
  product(delta, delta, above, batch, outer, batch, 1);
  product(h, h, below, batch, inner, batch, 1);
  let sum = 0;
  for (let k = 0; k < above.length; k += 1) sum += above[k] * below[k];
  return Math.sqrt(Math.max(sum, 0));
};

/** The groups over which a normalisation averages: [number, length, from one to the next, stride]. */
const groups = (norm, batch, width) =>
  norm === "batch" ? [width, batch, 1, width] : [batch, width, width, 1];

/** Normalises z in place; returns what each group was divided by. */
const normalise = (z, norm, batch, width) => {
  const [count, length, apart, stride] = groups(norm, batch, width);
  const scales = new Float64Array(count);
  for (let g = 0; g < count; g += 1) {
    const [start, end] = [g * apart, g * apart + length * stride];
    let mean = 0;
    if (norm !== "rms") for (let k = start; k < end; k += stride) mean += z[k] / length;
    let square = 0;
    for (let k = start; k < end; k += stride) square += (z[k] - mean) ** 2 / length;
    scales[g] = Math.sqrt(square + EPSILON[norm]);
    for (let k = start; k < end; k += stride) z[k] = (z[k] - mean) / scales[g];
  }
  return scales;
};

/** Turns, in place, the gradient with respect to the normalised z into that with respect to z. */
const normaliseBack = (delta, z, scales, norm, batch, width) => {
  const [count, length, apart, stride] = groups(norm, batch, width);
  for (let g = 0; g < count; g += 1) {
    const [start, end] = [g * apart, g * apart + length * stride];
    let mean = 0;
    let along = 0;
    for (let k = start; k < end; k += stride) {
      if (norm !== "rms") mean += delta[k] / length;
      along += (delta[k] * z[k]) / length;
    }
    for (let k = start; k < end; k += stride) delta[k] = (delta[k] - mean - z[k] * along) / scales[g];
  }
};

/** Largest z to the left, and smallest to the right, from which on a unit is saturated. */
const responsiveInterval = ({ value, slope }) => {
  const at = (k) => k / 1000;
  const steep = (k) => Math.abs(slope(at(k), value(at(k))));
  const end = 20000;
  let steepest = 0;
  for (let k = -end; k <= end; k += 1) steepest = Math.max(steepest, steep(k));
  let [low, high] = [-end, end];
  while (steep(low) < SATURATED * steepest) low += 1;
  while (steep(high) < SATURATED * steepest) high -= 1;
  return [low > -end ? at(low - 1) : -Infinity, high < end ? at(high + 1) : Infinity];
};

/** Mean, standard deviation and, of a hidden layer, saturated share. */
const describe = (h, z, [low, high]) => {
  let mean = 0;
  let flat = 0;
  for (let k = 0; k < h.length; k += 1) {
    mean += h[k];
    if (z[k] <= low || z[k] >= high) flat += 1;
  }
  mean /= h.length;
  let square = 0;
  for (let k = 0; k < h.length; k += 1) square += (h[k] - mean) ** 2;
  return { mean, std: Math.sqrt(square / h.length), saturated: flat / h.length };
};

/** The loss's gradient with respect to the logits: (softmax - one-hot) / batch. */
const crossEntropyBack = (logits, labels, batch) => {
  const delta = new Float64Array(logits.length);
  for (let n = 0; n < batch; n += 1) {
    const row = logits.subarray(n * CLASSES, (n + 1) * CLASSES);
    const largest = Math.max(...row);
    const powers = row.map((value) => Math.exp(value - largest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    for (let c = 0; c < CLASSES; c += 1) {
      delta[n * CLASSES + c] = (powers[c] / total - (c === labels[n] ? 1 : 0)) / batch;
    }
  }
  return delta;
};

/**
 * Networks of one width and seed, of any depth and kind, on one batch of standard normal inputs.
 *
 * The standard normal numbers behind the weights are drawn once: to change σ or the depth costs one
 * pass forward and back. `batch` is a multiple of four, `width` of two.
 */
export const makeNetwork = ({ width, seed, batch = 16 }) => {
  const inputs = normals(batch * width, seed, 1000);
  const label = generator(seed, 1001);
  const labels = Array.from({ length: batch }, () => label() % CLASSES);
  const drawn = new Map();
  const intervals = new Map();
  const buffers = [];

  /** Standard normal weights [outer, width] and biases [outer] of hidden layer l, output: 0. */
  const layer = (l) => {
    if (!drawn.has(l)) {
      const outer = l ? width : CLASSES;
      const weights = normals(outer * width, seed, l);
      const biases = normals(outer, seed, 500 + l);
      drawn.set(l, { outer, weights, turned: transposed(weights, outer, width), biases });
    }
    return drawn.get(l);
  };

  const buffer = (l) => {
    const fresh = () => new Float64Array(batch * width);
    return (buffers[l] ??= { z: fresh(), h: fresh(), passed: fresh() });
  };

  const intervalOf = (name) => {
    if (!intervals.has(name)) intervals.set(name, responsiveInterval(ACTIVATIONS[name]));
    return intervals.get(name);
  };

  const affine = (x, l, out, sigmaW, sigmaB) => {
    const { outer, weights, biases } = layer(l);
    product(x, weights, out, batch, width, outer, sigmaW / Math.sqrt(width));
    for (let k = 0; k < out.length; k += 1) out[k] += sigmaB * biases[k % outer];
  };

  /**
   * One batch forward and back: what vglab.probe measures, an entry for each of the `depth` hidden
   * layers and one for the output.
   *
   * `mean`, `std`: of the activations; `size`: root mean square of what the layer passes on, which
   * is the same activations unless there are skip paths; `saturated`: share of units on a flat end;
   * `gradient`: norm of the loss's gradient with respect to the activations; `weightGradient`: with
   * respect to the weights.
   *
   * `visit(l, gradient)` is shown the gradient with respect to what each hidden layer passes on,
   * [batch, width], from the last layer to the first; it must copy what it keeps.
   */
  const measure = (
    { depth, activation, sigmaW, sigmaB = 0, norm = "none", residual = false },
    visit = () => {},
  ) => {
    const { value, slope } = ACTIVATIONS[activation];
    const interval = intervalOf(activation);
    const names = ["mean", "std", "saturated", "size", "gradient", "weightGradient"];
    const found = Object.fromEntries(names.map((name) => [name, new Float64Array(depth + 1)]));
    const record = (l, entries) => {
      for (const [name, entry] of Object.entries(entries)) found[name][l] = entry;
    };

    const scales = [];
    let below = inputs;
    for (let l = 1; l <= depth; l += 1) {
      const { z, h, passed } = buffer(l);
      affine(below, l, z, sigmaW, sigmaB);
      if (norm !== "none") scales[l] = normalise(z, norm, batch, width);
      for (let k = 0; k < z.length; k += 1) {
        h[k] = value(z[k]);
        passed[k] = residual ? below[k] + h[k] : h[k];
      }
      record(l - 1, { ...describe(h, z, interval), size: Math.sqrt(squares(passed) / h.length) });
      below = passed;
    }
    const logits = new Float64Array(batch * CLASSES);
    affine(below, 0, logits, sigmaW, sigmaB);
    const { mean, std } = describe(logits, logits, [-Infinity, Infinity]);
    const size = Math.sqrt(squares(logits) / logits.length);
    record(depth, { mean, std, size, saturated: NaN });

    let delta = crossEntropyBack(logits, labels, batch);
    record(depth, {
      gradient: Math.sqrt(squares(delta)),
      weightGradient: weightGradientNorm(delta, below, batch, CLASSES, width),
    });
    const g = new Float64Array(batch * width); // with respect to what layer l passes on
    product(delta, layer(0).turned, g, batch, CLASSES, width, sigmaW / Math.sqrt(width));
    delta = new Float64Array(batch * width);
    const back = new Float64Array(batch * width);
    for (let l = depth; l >= 1; l -= 1) {
      visit(l, g);
      const { z, h } = buffer(l);
      below = l > 1 ? buffer(l - 1).passed : inputs;
      for (let k = 0; k < z.length; k += 1) delta[k] = g[k] * slope(z[k], h[k]);
      if (norm !== "none") normaliseBack(delta, z, scales[l], norm, batch, width);
      record(l - 1, {
        gradient: Math.sqrt(squares(g)),
        weightGradient: weightGradientNorm(delta, below, batch, width, width),
      });
      product(delta, layer(l).turned, back, batch, width, width, sigmaW / Math.sqrt(width));
      for (let k = 0; k < g.length; k += 1) g[k] = residual ? g[k] + back[k] : back[k];
    }
    return found;
  };

  return { width, seed, batch, inputs, labels, layer, measure };
};
