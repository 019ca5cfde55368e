// The networks of the trainability map: what was stored of them, and what the theory says.

const BASE = 56;
const FIRST = "$".charCodeAt(0);

/** Predicted reach of a signal, in depth scales. */
export const REACH = 6;

/** The loss of guessing among ten classes. */
export const GUESSING = Math.log(10);

/**
 * Losses [depth][σ_w][step] from their text; book/_tools/trainability_data.py describes it.
 */
export const unpack = (text, depths, sigmas, quantum) => {
  const count = text.length / 2;
  const steps = count / (depths * sigmas);
  let at = 0;
  const difference = () => {
    const high = text.charCodeAt(at) - FIRST;
    const low = text.charCodeAt(count + at) - FIRST;
    at += 1;
    const counted = high * BASE + low;
    return counted % 2 ? -(counted + 1) / 2 : counted / 2;
  };
  return Array.from({ length: depths }, () => {
    const rises = new Int32Array(steps); // from step to step, of the network before
    return Array.from({ length: sigmas }, () => {
      let level = 0;
      return Float64Array.from(rises, (_, step) => {
        rises[step] += difference();
        level += rises[step];
        return Math.exp(level * quantum);
      });
    });
  });
};

/** The stored file with its losses unpacked, and `at(point)` for what is known of one network. */
export const open = (stored) => {
  const { sigma_w: sigmas, depths, settings } = stored;
  const losses = unpack(stored.losses, depths.length, sigmas.length, stored.quantum);
  return {
    sigmas,
    depths,
    settings,
    /** `point`: {s, d}, places in `sigmas` and in `depths`. */
    at({ s, d }) {
      const accuracy = stored.right[d][s] / settings.test_images;
      const ratio = depths[d] / stored.xi[s];
      return {
        sigma: sigmas[s],
        depth: depths[d],
        chi: stored.chi[s],
        xi: stored.xi[s],
        ratio,
        inside: ratio <= REACH,
        accuracy,
        learned: accuracy > 0.5,
        losses: losses[d][s],
        firm: stored.firm[d][s],
      };
    },
    reach: stored.xi.map((xi) => REACH * xi),
  };
};

const MOVES = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowDown: [0, -1],
  ArrowUp: [0, 1],
  PageDown: [0, -5],
  PageUp: [0, 5],
  Home: [-Infinity, 0],
  End: [Infinity, 0],
};

const within = (value, count) => Math.max(0, Math.min(count - 1, value));

/** Where a key takes a point, or undefined for a key that moves nothing. */
export const moved = (map, { s, d }, key) => {
  if (!(key in MOVES)) return undefined;
  const [across, up] = MOVES[key];
  return { s: within(s + across, map.sigmas.length), d: within(d + up, map.depths.length) };
};

/** The network next to a place on the map, given as shares of its width and height from bottom left. */
export const nearest = (map, across, up) => ({
  s: within(Math.floor(across * map.sigmas.length), map.sigmas.length),
  d: within(Math.floor(up * map.depths.length), map.depths.length),
});

/** Edges between networks that learned and that did not: [[s, d], [s, d]], in cells from bottom left. */
export const border = (map) => {
  const learned = map.depths.map((_, d) => map.sigmas.map((_, s) => map.at({ s, d }).learned));
  const edges = [];
  learned.forEach((row, d) =>
    row.forEach((one, s) => {
      if (s + 1 < row.length && one !== row[s + 1]) edges.push([[s + 1, d], [s + 1, d + 1]]);
      if (d + 1 < learned.length && one !== learned[d + 1][s]) edges.push([[s, d + 1], [s + 1, d + 1]]);
    }),
  );
  return edges;
};
