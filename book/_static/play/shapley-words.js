// What an order, its means and the axioms say of a game, in words.
import { number } from "./numbers.js";
import { dummies, twins, walk } from "./shapley-model.js";
import { t } from "./strings.js";

export const LETTERS = ["A", "B", "C", "D"];
export const SURE = 1.96; // standard errors on each side of a 95 % interval

/** An order of joining: A, B, C. */
export const orderOf = (order) => order.map((player) => LETTERS[player]).join(", ");

const each = (values, digits = 3) =>
  values.map((value, i) => `${LETTERS[i]} ${number(value, digits)}`).join(", ");

/** The finding: the order that is shown, and the means up to it. */
export const finding = ({ v, orders, shown, means, exact, random }) => {
  const last = means[shown - 1];
  const values = {
    k: shown,
    total: orders.length,
    order: orderOf(orders[shown - 1]),
    gains: walk(v, orders[shown - 1])
      .map(({ player, gain }) => `${LETTERS[player]} ${number(gain)}`)
      .join(", "),
    means: each(last.mean),
    exact: each(exact),
  };
  if (!random) {
    const now = t("Order {k} of {total} is {order}. The gains: {gains}.", values);
    if (shown < orders.length) {
      const so = t("The means so far are {means}; over all orders they will be {exact}.", values);
      return `${now} ${so}`;
    }
    return `${now} ${t("The means over all orders are the Shapley values: {exact}.", values)}`;
  }
  const now = t("Random order {k} is {order}. The gains: {gains}.", values);
  if (shown < 2) return `${now} ${t("One order has no standard error yet.")}`;
  const withErrors = last.mean
    .map((mean, i) => `${LETTERS[i]} ${number(mean)} ± ${number(last.error[i], 2)}`)
    .join(", ");
  const inside = last.mean.filter(
    (mean, i) => Math.abs(mean - exact[i]) <= SURE * last.error[i] + 1e-12,
  ).length;
  const so = t(
    "The means so far, with their standard errors: {withErrors}. The exact values are {exact}; {inside} of {n} lie within 1.96 standard errors.",
    { ...values, withErrors, inside, n: exact.length },
  );
  return `${now} ${so}`;
};

/** What the axioms say about this game, one sentence each. */
export const axioms = (v, exact) => {
  const sum = exact
    .map((value) => number(value))
    .join(" + ")
    .replaceAll("+ −", "− ");
  const alike = twins(v).map(([a, b]) =>
    t("{a} and {b} add the same to every coalition without them, and get the same: {value}.", {
      a: LETTERS[a],
      b: LETTERS[b],
      value: number(exact[a]),
    }),
  );
  const idle = dummies(v).map((player) =>
    t("{a} adds nothing to any coalition, and gets {value}.", {
      a: LETTERS[player],
      value: number(Math.abs(exact[player]) < 1e-12 ? 0 : exact[player]),
    }),
  );
  return [
    [
      t("Efficiency"),
      t("{sum} = {total}, which is {all} − {none}: v of all less v of nobody.", {
        sum,
        total: number(exact.reduce((a, b) => a + b)),
        all: number(v.at(-1)),
        none: v[0] < 0 ? `(${number(v[0])})` : number(v[0]),
      }),
    ],
    [t("Symmetry"), alike.join(" ") || t("No two players of this game are alike.")],
    [t("Dummy"), idle.join(" ") || t("Everybody adds something somewhere.")],
  ];
};
