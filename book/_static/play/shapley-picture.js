// The waterfall of one order of joining, and the means of the gains so far.
import { d3 } from "./d3.js";
import { SERIES, axes } from "./kit.js";
import { marks } from "./marks.js";
import { fixed } from "./numbers.js";
import { gains, walk } from "./shapley-model.js";
import { LETTERS, SURE } from "./shapley-words.js";
import { t } from "./strings.js";

const MARKS = 12;
const MARGIN = { left: 52, top: 10, bottom: 48 };
const BESIDE = 600; // a panel as wide as this shows both pictures side by side
const ROW = 44;

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

/** Makes both pictures in a panel's svg; the result draws a state into them. */
export const makePicture = (svg) => {
  const [joins, averages] = [svg.append("g"), svg.append("g")];
  return (state, width) => {
    const { left, top, bottom } = MARGIN;
    const beside = width >= BESIDE;
    const room = beside ? width / 2 : width;
    const height = ROW * (Math.log2(state.v.length) + 2);
    const [across, down] = beside ? [room + left, top] : [left, height + 2 * top + bottom];
    svg.attr("width", width).attr("height", down + height + bottom);
    joins.attr("transform", `translate(${left},${top})`);
    averages.attr("transform", `translate(${across},${down})`);
    drawWaterfall(joins, state, room - left - 58, height);
    drawMeans(averages, state, room - left - 26, height);
  };
};
