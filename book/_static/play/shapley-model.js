// Cooperative games: what each coalition of n players earns, and who gets how much of it.
//
// A coalition is a number whose bit i says whether player i takes part; a game is an array of the
// 2ⁿ values in that order: v[0] is nobody's, v[2ⁿ − 1] everybody's.

const players = (n) => Array.from({ length: n }, (_, i) => i);

/** All orders in which n players can join, in the order of a dictionary. */
export const allOrders = (n) => {
  const extend = (order) =>
    order.length === n
      ? [order]
      : players(n)
          .filter((player) => !order.includes(player))
          .flatMap((player) => extend([...order, player]));
  return extend([]);
};

/** So many orders, each equally likely; the same seed gives the same orders (mulberry32). */
export const randomOrders = (n, count, seed) => {
  let state = seed;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return Array.from({ length: count }, () => {
    const order = players(n);
    for (let last = n - 1; last > 0; last -= 1) {
      const other = Math.floor(random() * (last + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  });
};

/** One order step by step: who joins, the values before and after, and the gain. */
export const walk = (v, order) => {
  let coalition = 0;
  return order.map((player) => {
    const before = v[coalition];
    coalition |= 1 << player;
    return { player, before, after: v[coalition], gain: v[coalition] - before };
  });
};

/** Each player's gain in one order, by player. */
export const gains = (v, order) => {
  const found = new Array(order.length);
  for (const { player, gain } of walk(v, order)) found[player] = gain;
  return found;
};

/**
 * After 1, 2, … orders, each player's mean gain and its standard error (that of independent
 * orders; NaN after the first).
 */
export const running = (v, orders) => {
  const n = orders[0].length;
  const [mean, squares] = [new Array(n).fill(0), new Array(n).fill(0)];
  return orders.map((order, k) => {
    gains(v, order).forEach((gain, i) => {
      const away = gain - mean[i];
      mean[i] += away / (k + 1);
      squares[i] += away * (gain - mean[i]);
    });
    return { mean: [...mean], error: squares.map((sum) => Math.sqrt(sum / k / (k + 1))) };
  });
};

const count = (coalition) => coalition.toString(2).replaceAll("0", "").length;

/** Calls `visit(without, with)` for each coalition that lacks the player. */
const joining = (v, player, visit) => {
  const bit = 1 << player;
  for (let coalition = 0; coalition < v.length; coalition += 1) {
    if (!(coalition & bit)) visit(coalition, coalition | bit);
  }
};

/** Shapley values, as the weighted sum over coalitions: |S|! (n − |S| − 1)! / n! each. */
export const shapley = (v) => {
  const n = Math.log2(v.length);
  const factorial = (k) => (k < 2 ? 1 : k * factorial(k - 1));
  return players(n).map((player) => {
    let sum = 0;
    joining(v, player, (without, joined) => {
      const size = count(without);
      const weight = (factorial(size) * factorial(n - size - 1)) / factorial(n);
      sum += weight * (v[joined] - v[without]);
    });
    return sum;
  });
};

/** Rounding apart: values of a game differ if they differ by more than this share of its size. */
const same = (v, a, b) => Math.abs(a - b) <= 1e-9 * Math.max(...v.map(Math.abs));

/** Players who add nothing to any coalition. */
export const dummies = (v) =>
  players(Math.log2(v.length)).filter((player) => {
    let adds = false;
    joining(v, player, (without, joined) => (adds ||= !same(v, v[without], v[joined])));
    return !adds;
  });

/** Pairs of players who add the same to every coalition without them. */
export const twins = (v) => {
  const n = Math.log2(v.length);
  const pairs = players(n).flatMap((a) =>
    players(n)
      .slice(a + 1)
      .map((b) => [a, b]),
  );
  return pairs.filter(([a, b]) => {
    let alike = true;
    joining(v, a, (without, withA) => {
      if (without & (1 << b)) return;
      alike &&= same(v, v[withA], v[without | (1 << b)]);
    });
    return alike;
  });
};
