// Shapley values step by step: edit a game, walk through the orders of joining, watch the means.
import { d3 } from "./d3.js";
import { SERIES, axes, key, make } from "./kit.js";
import { marks } from "./marks.js";
import { fixed, number } from "./numbers.js";
import { playButton } from "./player.js";
import {
  allOrders,
  dummies,
  gains,
  randomOrders,
  running,
  shapley,
  twins,
  walk,
} from "./shapley-model.js";
import { t } from "./strings.js";
import { numbersTable } from "./table.js";

const LETTERS = ["A", "B", "C", "D"];
const SAMPLES = 200; // random orders at most
const SURE = 1.96; // standard errors on each side of a 95 % interval
const MARKS = 12;

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

const nameOf = (coalition, n) =>
  d3
    .range(n)
    .filter((i) => coalition & (1 << i))
    .map((i) => LETTERS[i])
    .join(" ") || "∅";

const each = (values, digits = 3) =>
  values.map((value, i) => `${LETTERS[i]} ${number(value, digits)}`).join(", ");

/** Bounds of the sliders: the values of the game with room on both sides, in halves. */
const boundsOf = (v) => {
  const [low, high] = d3.extent([0, ...v]);
  const room = (high - low) / 2;
  return [Math.floor((low - room) * 2) / 2, Math.ceil((high + room) * 2) / 2];
};

const finding = ({ v, orders, shown, means, exact, random }) => {
  const last = means[shown - 1];
  const values = {
    k: shown,
    total: orders.length,
    order: orders[shown - 1].map((player) => LETTERS[player]).join(", "),
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
const axioms = (v, exact) => {
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

/** The current order: where the value stands before and after each player joins. */
const drawWaterfall = (area, { v, orders, shown }, width, height) => {
  const n = Math.log2(v.length);
  const steps = walk(v, orders[shown - 1]);
  const rows = [
    { id: "none", words: "∅", from: 0, to: v[0], text: fixed(v[0]) },
    ...steps.map(({ player, before, after, gain }) => ({
      id: player,
      words: t("+ {player}", { player: LETTERS[player] }),
      from: before,
      to: after,
      text: gain > 0 ? `+${fixed(gain)}` : fixed(gain),
    })),
    { id: "all", words: t("all"), from: 0, to: v.at(-1), text: fixed(v.at(-1)) },
  ];
  const [low, high] = d3.extent([0, ...v]);
  const x = d3.scaleLinear([low, high === low ? low + 1 : high], [0, width]).nice();
  const y = d3
    .scaleBand(d3.range(n + 2), [0, height])
    .paddingInner(0.35)
    .paddingOuter(0.15);
  axes(area, {
    x,
    y: d3.scaleLinear([0, 1], [height, 0]),
    xlabel: t("value of the coalition"),
    ylabel: "",
    xticks: 4,
    yticks: 0,
  });
  const left = ({ from, to }) => x(Math.min(from, to));
  const across = ({ from, to }) => Math.abs(x(to) - x(from));
  const groups = area
    .selectAll("g.join")
    .data(rows)
    .join((enter) => {
      const group = enter.append("g").attr("class", "join");
      for (const part of ["rect", "path", "text", "text"]) group.append(part);
      group.select("text").attr("class", "who").attr("text-anchor", "end");
      group.select("text:last-child").attr("class", "gain");
      return group;
    })
    .attr("transform", (_, i) => `translate(0,${y(i)})`)
    .style("color", ({ id }) => (Number.isInteger(id) ? SERIES[id].color : "var(--vglab-muted)"));
  groups
    .select("rect")
    .attr("x", (d) => left(d) - 1)
    .attr("width", (d) => across(d) + 2)
    .attr("height", y.bandwidth());
  groups
    .select("path")
    .attr("d", (d, i) => (i <= n ? `M${x(d.to)},${y.bandwidth()}V${y.step()}` : null));
  groups
    .select("text.who")
    .attr("x", -10)
    .attr("y", y.bandwidth() / 2)
    .text((d) => d.words);
  groups
    .select("text.gain")
    .attr("x", width + 8)
    .attr("y", y.bandwidth() / 2)
    .text((d) => d.text);
};

/** The means of the gains so far, with intervals where the orders are drawn at random. */
const drawMeans = (area, { v, orders, shown, means, exact, random }, width, height) => {
  const so = means.slice(0, shown);
  const every = orders.flatMap((order) => gains(v, order));
  const [low, high] = d3.extent([0, ...every]);
  const x = d3.scaleLinear([1, random ? Math.max(shown, 10) : orders.length], [0, width]);
  const y = d3.scaleLinear([low, high === low ? low + 1 : high], [height, 0]).nice();
  const apart = Math.max(1, Math.ceil(shown / MARKS));
  axes(area, {
    x,
    y,
    xlabel: t("orders so far"),
    ylabel: t("mean gain"),
    xticks: Math.min(5, x.domain()[1] - 1),
    yticks: 5,
    xformat: "d",
  });
  const bound = (value) => y(Math.min(Math.max(value, y.domain()[0]), y.domain()[1]));
  const groups = area
    .selectAll("g.series")
    .data(exact.map((value, player) => ({ value, player, look: SERIES[player] })))
    .join((enter) => {
      const group = enter.append("g").attr("class", "series");
      for (const part of ["vglab-interval", "vglab-exact", "line", "mark"]) {
        group.append("path").attr("class", part);
      }
      group.append("text").attr("class", "who");
      return group;
    })
    .style("color", (d) => d.look.color);
  const band = d3
    .area()
    .x((_, k) => x(k + 1))
    .y0(({ mean, error }) => bound(mean - SURE * error))
    .y1(({ mean, error }) => bound(mean + SURE * error))
    .defined(({ error }) => Number.isFinite(error));
  const history = ({ player }) =>
    so.map(({ mean, error }) => ({ mean: mean[player], error: error[player] }));
  groups.select(".vglab-interval").attr("d", (d) => (random ? band(history(d)) : null));
  groups.select(".vglab-exact").attr("d", ({ value }) => `M0,${y(value)}H${width}`);
  const points = ({ player }) => so.map(({ mean }, k) => [x(k + 1), y(mean[player])]);
  groups
    .select(".line")
    .attr("stroke-dasharray", (d) => d.look.dash)
    .attr("d", (d) => d3.line()(points(d)));
  groups.select(".mark").attr("d", (d) => {
    const seen = points(d).filter((_, k) => k % apart === 0 || k === shown - 1);
    return marks(seen, d.look.symbol, 40);
  });
  groups
    .select("text.who")
    .attr("x", width + 7)
    .attr("y", (_, i) => aside(exact.map(y), height)[i])
    .text(({ player }) => LETTERS[player]);
};

/** Heights for labels beside these heights, in their order but a line apart. */
const aside = (heights, most, line = 14) => {
  const placed = [...heights];
  const order = d3.sort(d3.range(heights.length), (i) => heights[i]);
  order.forEach((i, place) => {
    if (place) placed[i] = Math.max(placed[i], placed[order[place - 1]] + line);
  });
  const over = Math.max(0, placed[order.at(-1)] - most);
  return placed.map((height) => height - over);
};

/** The game of a network, as book/_tools/wine_game.py stored it. */
const wineGame = async () => {
  const stored = await fetch(new URL("./wine-game.json", import.meta.url));
  const { players, values } = await stored.json();
  return { words: t("a network of four measurements of a wine"), v: values, players };
};

/** One slider for each coalition, small ones first. */
const coalitionSliders = (panel, parent, v, edited) => {
  const n = Math.log2(v.length);
  const [min, max] = boundsOf(v);
  const makers = panel.controls(() => {}, parent);
  parent.replaceChildren(make("legend", {}, t("value v(S) of each coalition S; move any of them")));
  const size = (s) => nameOf(s, n).length * (s > 0);
  for (const s of d3.sort(d3.range(v.length), size, (s) => nameOf(s, n))) {
    const options = {
      label: nameOf(s, n),
      min,
      max,
      step: 0.01,
      value: v[s],
      format: (x) => fixed(x),
    };
    const slider = makers.slider(options, () => edited(s, slider.value));
    slider.input.setAttribute(
      "aria-label",
      s ? t("value of {who}", { who: nameOf(s, n) }) : t("value of nobody"),
    );
  }
};

export const build = async (panel) => {
  const games = { ...GAMES, wine: await wineGame() };
  let v = [...games.glove.v];
  let seed = 1;
  let parts;

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
  const pace = () => (random() ? 12 : 1.5);
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
      make("li", {}, key(i), players[i] ? `${letter}: ${t(players[i])}` : letter),
    );
    begin();
  };

  const rules = make("dl", { className: "vglab-axioms" });
  const state = () => {
    const shown = order.value;
    return { v, orders, shown, means: running(v, orders), exact: shapley(v), random: random() };
  };
  panel.draw((svg, width) => {
    const now = state();
    parts ??= ["joins", "means"].map((name) => svg.append("g").attr("class", `vglab-${name}`));
    const beside = width >= 600;
    const room = beside ? width / 2 : width;
    const height = 44 * (size() + 2);
    const [left, top, below] = [52, 10, 48];
    svg.attr("width", width).attr("height", (beside ? 1 : 2) * (height + top + below) + 4);
    parts[0].attr("transform", `translate(${left},${top})`);
    drawWaterfall(parts[0], now, room - left - 58, height);
    const [across, down] = beside ? [room + left, top] : [left, height + 2 * top + below];
    parts[1].attr("transform", `translate(${across},${down})`);
    drawMeans(parts[1], now, room - left - 26, height);
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

  const updateTable = numbersTable(panel, () => {
    const { shown, means, exact } = state();
    const first = Math.max(0, shown - 24);
    const rows = d3
      .range(first, shown)
      .map((k) => [
        `${k + 1}: ${orders[k].map((who) => LETTERS[who]).join(", ")}`,
        ...gains(v, orders[k]).map((gain) => number(gain, 6)),
      ]);
    const { mean, error } = means[shown - 1];
    const errors = [t("standard error"), ...error.map((e) => (shown > 1 ? number(e, 6) : "–"))];
    return {
      caption: t("What each player gains in the last orders, and the means of all so far"),
      head: [t("order"), ...LETTERS.slice(0, size())],
      rows: [
        ...rows,
        [t("mean so far"), ...mean.map((value) => number(value, 6))],
        ...(random() ? [errors] : []),
        [t("Shapley value"), ...exact.map((value) => number(value, 6))],
      ],
    };
  });
  choose();
};
