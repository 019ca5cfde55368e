// The map of a surface with the paths on it, and the losses step by step.
import { d3 } from "./d3.js";
import { WINDOW, excess } from "./descent-model.js";
import { axes } from "./kit.js";
import { marks } from "./marks.js";
import { power } from "./numbers.js";
import { t } from "./strings.js";

const LINE_MARKS = 9;
const PATH_MARKS = 70;
const MARGIN = { left: 52, right: 12, top: 10, bottom: 48 };
const BESIDE = 600; // a panel as wide as this shows both pictures side by side
const LARGEST = 440; // width of the map otherwise
const LOSS_HEIGHT = 170; // below the map; beside it the losses are as high as the map

/** The contours at equal shares of the map's area, denser near the bottom. */
const contoursOf = (surface) => {
  const size = 90;
  const at = (i) => ((i + 0.5) / size) * 2 * WINDOW - WINDOW;
  const heights = d3
    .range(size * size)
    .map((i) =>
      surface.value(surface.middle[0] + at(i % size), surface.middle[1] + at(Math.floor(i / size))),
    );
  const sorted = Float64Array.from(heights).sort();
  const levels = d3.range(1, 11).map((i) => d3.quantileSorted(sorted, (i / 11) ** 1.5));
  return d3
    .contours()
    .size([size, size])
    .thresholds(levels)(heights)
    .map(({ coordinates }) => ({
      type: "MultiPolygon",
      coordinates: coordinates.map((polygon) =>
        polygon.map((ring) => ring.map(([x, y]) => [x / size, 1 - y / size])),
      ),
    }));
};

/** Draws the axes if they changed: most moves of the start leave them as they are. */
const axesIfNew = (parts, options) => {
  const drawn = JSON.stringify(
    [options.x, options.y].map((scale) => [scale.domain(), scale.range()]),
  );
  if (parts.axes === drawn) return;
  parts.axes = drawn;
  axes(parts.area, options);
};

/** Groups and clip paths of both pictures, made once. */
const scaffold = (svg) => {
  const made = {};
  for (const name of ["map", "loss"]) {
    const id = `vglab-descent-${name}`;
    const clip = svg.append("clipPath").attr("id", id).append("rect");
    const area = svg.append("g");
    const inside = area.append("g").attr("clip-path", `url(#${id})`);
    made[name] = { clip, area, inside };
  }
  made.map.ground = made.map.inside.append("g").attr("class", "vglab-contours");
  made.map.touch = made.map.area.append("rect").attr("class", "vglab-touch");
  return made;
};

const drawSeries = (inside, data) => {
  const groups = inside
    .selectAll("g.series")
    .data(data, (d) => d.id)
    .join((enter) => {
      const group = enter.append("g").attr("class", "series");
      group.append("path").attr("class", "line");
      group.append("path").attr("class", "mark");
      return group;
    })
    .style("color", (d) => d.look.color);
  groups
    .select("path.line")
    .attr("stroke-dasharray", (d) => d.look.dash)
    .attr("d", (d) => d3.line()(d.points));
  groups.select("path.mark").attr("d", (d) => marks(d.marked, d.look.symbol, d.size));
};

/** The surface and its minima, drawn anew only when they or the map's size change. */
const drawGround = (parts, { kind, kappa, surface }, { x, y }, side) => {
  const drawn = `${kind} ${kappa} ${side}`;
  if (parts.drawn === drawn) return;
  parts.drawn = drawn;
  for (const frame of [parts.clip, parts.touch]) frame.attr("width", side).attr("height", side);
  parts.ground
    .selectAll("path.level")
    .data(contoursOf(surface))
    .join((enter) => enter.insert("path", ".vglab-minimum").attr("class", "level"))
    .attr("d", d3.geoPath(d3.geoIdentity().scale(side)));
  parts.ground
    .selectAll("path.vglab-minimum")
    .data(surface.minima)
    .join("path")
    .attr("class", "vglab-minimum")
    .attr("d", d3.symbol(d3.symbolStar, 90)())
    .attr("transform", (d) => `translate(${x(d[0])},${y(d[1])})`);
};

const drawMap = (parts, state, side) => {
  const around = (middle) => [middle - WINDOW, middle + WINDOW];
  const x = d3.scaleLinear(around(state.surface.middle[0]), [0, side]);
  const y = d3.scaleLinear(around(state.surface.middle[1]), [side, 0]);
  axesIfNew(parts, { x, y, xlabel: "θ₁", ylabel: "θ₂", xticks: 5, yticks: 5 });
  drawGround(parts, state, { x, y }, side);
  const every = Math.ceil(state.steps / PATH_MARKS) || 1;
  const far = 4 * side; // beyond the picture: drawing further out takes time and shows nothing
  const within = (pixels) => Math.min(Math.max(pixels, -far), far);
  drawSeries(
    parts.inside,
    state.runs.map((run) => {
      const points = run.path.map((at) => [within(x(at[0])), within(y(at[1]))]);
      return { ...run, points, marked: points.filter((_, i) => i % every === 0), size: 16 };
    }),
  );
  return { x, y };
};

/** Bounds of the loss axis: all losses, but neither rounding's dust nor what runs away. */
const lossBounds = ({ surface, start, runs }) => {
  const losses = runs.flatMap(({ loss }) => loss).filter((loss) => loss > 0);
  const first = Math.max(excess(surface, [start])[0], 1e-3);
  const high = Math.min(Math.max(d3.max(losses) ?? first, first), 1e3 * first);
  const low = Math.max(d3.min(losses) ?? high, 1e-15 * high);
  return [Math.min(low, high / 10), high];
};

const drawLosses = (parts, state, width, height) => {
  const [low, high] = lossBounds(state);
  const x = d3.scaleLinear([0, Math.max(state.steps, 5)], [0, width]);
  const y = d3.scaleLog([low, high], [height, 0]).nice();
  const decades = Math.log10(y.domain()[1] / y.domain()[0]);
  const [xlabel, ylabel] = [t("step t"), t("loss above the minimum")];
  const yticks = Math.min(decades, 6);
  axesIfNew(parts, { x, y, xlabel, ylabel, xticks: 5, yticks, yformat: power });
  parts.clip.attr("width", width).attr("height", height);
  const place = (loss) => y(Math.min(Math.max(loss, low / 1e3), high * 1e3));
  const apart = Math.max(1, Math.ceil(state.steps / LINE_MARKS));
  drawSeries(
    parts.inside,
    state.runs.map((run, i) => {
      const points = run.loss.map((loss, step) => [x(step), place(loss)]);
      const first = Math.floor((apart * i) / state.runs.length); // so that no marker hides another
      const marked = points.filter((_, step) => step % apart === first);
      return { ...run, points, marked, size: 34 };
    }),
  );
};

/**
 * Makes both pictures in a panel's svg, side by side where there is room. `draw(state, width)`
 * returns the map's scales and place; `ground` is what a reader presses to move the start.
 */
export const makePicture = (svg) => {
  const parts = scaffold(svg);
  return {
    ground: parts.map.touch,
    draw(state, width) {
      const { left, right, top, bottom } = MARGIN;
      const beside = width >= BESIDE;
      const room = beside ? width / 2 : Math.min(width, LARGEST);
      const side = room - left - right;
      const height = beside ? side : LOSS_HEIGHT;
      const across = beside ? room + left + 6 : left;
      const down = beside ? top : top + side + bottom + 14;
      svg.attr("width", width).attr("height", down + height + bottom);
      parts.map.area.attr("transform", `translate(${left},${top})`);
      parts.loss.area.attr("transform", `translate(${across},${down})`);
      const scales = drawMap(parts.map, state, side);
      drawLosses(parts.loss, state, beside ? width - across - right : side, height);
      return { ...scales, left, top };
    },
  };
};
