// Shapley values step by step: edit a game, walk through the orders of joining, watch the means.
import { d3 } from "./d3.js";
import { draw, key, make } from "./kit.js";
import { fixed, number } from "./numbers.js";
import { playButton } from "./player.js";
import { allOrders, gains, randomOrders, running, shapley } from "./shapley-model.js";
import { makePicture } from "./shapley-picture.js";
import { LETTERS, axioms, finding, orderOf } from "./shapley-words.js";
import { t } from "./strings.js";
import { numbersTable } from "./table.js";

const SAMPLES = 200; // random orders at most
const PACE = { all: 1.5, random: 12 }; // orders a second
const TABLE_ROWS = 24;

/** A game of three from a function of who is there. */
const three = (earns) => d3.range(8).map((s) => Number(earns(s & 1, (s >> 1) & 1, (s >> 2) & 1)));

const GAMES = {
  glove: { words: t("gloves: A left, B and C right"), v: three((a, b, c) => a && (b || c)) },
  and: { words: t("AND: all three are needed"), v: three((a, b, c) => a && b && c) },
  or: { words: t("OR: anyone is enough"), v: three((a, b, c) => a || b || c) },
  xor: { words: t("XOR: an odd number earns"), v: three((a, b, c) => a ^ b ^ c) },
  additive: {
    words: t("additive: nobody needs anybody"),
    v: three((a, b, c) => 0.2 + 0.7 * a + 0.3 * b - 0.4 * c),
  },
  copy: {
    words: t("duplicate: B is a copy of A"),
    v: three((a, b, c) => 0.8 * (a || b) + 0.4 * c),
  },
  dummy: {
    words: t("dummy: C adds nothing"),
    v: three((a, b) => 0.3 * a + 0.7 * (a && b)),
  },
};

/** A coalition's name: A C, or ∅ for nobody. */
const nameOf = (coalition) => LETTERS.filter((_, i) => coalition & (1 << i)).join(" ") || "∅";

/** Bounds of the sliders: the values of the game with room on both sides, in halves. */
const boundsOf = (v) => {
  const [low, high] = d3.extent([0, ...v]);
  const room = (high - low) / 2;
  return [Math.floor((low - room) * 2) / 2, Math.ceil((high + room) * 2) / 2];
};

/** The game of a network, as book/_tools/wine_game.py stored it. */
const wineGame = async () => {
  const stored = await fetch(new URL("./wine-game.json", import.meta.url));
  const { players, values: v } = await stored.json();
  const names = {
    alcohol: t("alcohol"),
    flavanoids: t("flavanoids"),
    color_intensity: t("colour intensity"),
    proline: t("proline"),
  };
  const words = t("a network of four measurements of a wine");
  return { words, v, players: players.map((player) => names[player]) };
};

/** One slider for each coalition, small ones first. */
const coalitionSliders = (panel, parent, v, edited) => {
  const n = Math.log2(v.length);
  const [min, max] = boundsOf(v);
  const makers = panel.controls(() => {}, parent);
  parent.replaceChildren(make("legend", {}, t("value v(S) of each coalition S; move any of them")));
  const size = (s) => nameOf(s).length * (s > 0);
  for (const s of d3.sort(d3.range(v.length), size, (s) => nameOf(s))) {
    const options = {
      label: nameOf(s),
      min,
      max,
      step: 0.01,
      value: v[s],
      format: (x) => fixed(x),
    };
    const slider = makers.slider(options, () => edited(s, slider.value));
    slider.input.setAttribute(
      "aria-label",
      s ? t("value of {who}", { who: nameOf(s) }) : t("value of nobody, ∅"),
    );
  }
};

const tableOf = ({ v, orders, shown, means, exact, random }) => {
  const first = Math.max(0, shown - TABLE_ROWS);
  const rows = d3
    .range(first, shown)
    .map((k) => [
      `${k + 1}: ${orderOf(orders[k])}`,
      ...gains(v, orders[k]).map((gain) => number(gain, 6)),
    ]);
  const { mean, error } = means[shown - 1];
  const errors = [t("standard error"), ...error.map((e) => (shown > 1 ? number(e, 6) : "–"))];
  return {
    caption: t("What each player gains in the last orders, and the means of all so far"),
    head: [t("order"), ...LETTERS.slice(0, exact.length)],
    rows: [
      ...rows,
      [t("mean so far"), ...mean.map((value) => number(value, 6))],
      ...(random ? [errors] : []),
      [t("Shapley value"), ...exact.map((value) => number(value, 6))],
    ],
  };
};

export const build = async (panel) => {
  const games = { ...GAMES, wine: await wineGame() };
  let v = [...games.glove.v];
  let seed = 1;
  let paint;

  panel.title(t("Who joins when: Shapley values, order by order"));
  const controls = panel.controls(() => panel.redraw());
  const words = Object.entries(games).map(([name, game]) => [name, game.words]);
  const game = controls.menu(
    {
      label: t("game"),
      value: "glove",
      options: Object.fromEntries([...words, ["own", t("your own")]]),
    },
    () => choose(),
  );
  const bars = make("fieldset", { className: "vglab-coalitions" });
  const walking = make("div", { className: "vglab-controls vglab-walk" });
  const names = make("ul", { className: "vglab-legend" });
  panel.stage.before(bars, walking, names);
  const steps = panel.controls(() => panel.redraw(), walking);
  const drawn = steps.choice(
    {
      label: t("orders"),
      value: "all",
      options: { all: t("all in turn"), random: t("at random") },
    },
    () => begin(),
  );
  const order = steps.slider({ label: t("order number"), min: 1, max: 6, step: 1, value: 1 }, () =>
    move(0),
  );
  const buttons = make("div", { className: "vglab-buttons" });
  walking.append(buttons);
  const row = panel.controls(() => panel.redraw(), buttons);
  row.button({ label: t("Previous") }, () => move(-1));
  row.button({ label: t("Next") }, () => move(1));
  const pace = () => PACE[drawn.value];
  const player = playButton(row, order, pace, () => panel.redraw());
  const again = row.button({ label: t("Draw anew") }, () => {
    seed += 1;
    begin();
  });
  const random = () => drawn.value === "random";
  const size = () => Math.log2(v.length);
  let orders;
  let who;
  const move = (by) => {
    player.stop();
    order.value += by;
    panel.redraw();
  };
  const begin = () => {
    player.stop();
    orders = random() ? randomOrders(size(), SAMPLES, seed) : allOrders(size());
    order.input.max = orders.length;
    order.value = 1;
    again.hidden = !random();
    const lines = random()
      ? t("dotted: Shapley values; bands: means ± 1.96 standard errors")
      : t("dotted: Shapley values");
    names.replaceChildren(...who, make("li", {}, lines));
    panel.redraw();
  };
  const choose = () => {
    if (game.value === "own") return;
    const { v: values, players = [] } = games[game.value];
    v = [...values];
    coalitionSliders(panel, bars, v, (coalition, value) => {
      v[coalition] = value;
      game.value = "own";
      panel.redraw();
    });
    who = LETTERS.slice(0, size()).map((letter, i) =>
      make("li", {}, key(i), players[i] ? `${letter}: ${players[i]}` : letter),
    );
    begin();
  };

  const rules = make("dl", { className: "vglab-axioms" });
  const state = () => {
    const shown = order.value;
    return { v, orders, shown, means: running(v, orders), exact: shapley(v), random: random() };
  };
  draw(panel, (svg, width) => {
    const now = state();
    paint ??= makePicture(svg);
    paint(now, width);
    panel.say(finding(now));
    rules.replaceChildren(
      ...axioms(v, now.exact).flatMap(([name, says]) => [
        make("dt", {}, name),
        make("dd", {}, says),
      ]),
    );
    updateTable();
  });
  panel.element.append(rules);

  const updateTable = numbersTable(panel, () => tableOf(state()));
  choose();
};
