// The frame of an interactive figure: controls, a stage to draw on, a spoken summary. No library.
import { t } from "./strings.js";

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** An HTML element with properties, attributes (`aria-…`, `for`, `role`) and children. */
export const make = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

/** Calls of the result run `draw` once before the next frame, however many they are. */
export const oncePerFrame = (draw) => {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
};

let ids = 0;
const newId = (name) => `vglab-${name}-${(ids += 1)}`;

/** Lets the arrow keys' repeat and the pointer share one path: every change calls `changed`. */
const slider = (parent, { label, min, max, step, value, format = String }, changed) => {
  const id = newId("slider");
  const shown = make("output", { htmlFor: id });
  const input = make("input", { type: "range", id, min, max, step, value });
  const tell = () => {
    shown.textContent = format(Number(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => {
    tell();
    changed();
  });
  const tick = make("span", { className: "vglab-tick", "aria-hidden": "true", hidden: true });
  const marked = make("span", { className: "vglab-marked", hidden: true });
  const name = make("label", { for: id }, label);
  parent.append(make("div", { className: "vglab-slider" }, name, shown, input, tick, marked));
  tell();
  return {
    input,
    /** Marks a place on the scale, where there is one within it, and says below what it is. */
    mark(place, words) {
      const share = (place - min) / (max - min);
      tick.hidden = !(share >= 0 && share <= 1);
      tick.style.setProperty("--at", share);
      marked.hidden = !words;
      marked.textContent = words;
    },
    /** Says the value again, where its wording depends on more than the slider. */
    tell,
    get value() {
      return Number(input.value);
    },
    set value(next) {
      input.value = next;
      tell();
    },
  };
};

/** One of a few options, as radio buttons that look like a row of keys. `options`: value -> words. */
const choice = (parent, { label, options, value }, changed) => {
  const name = newId("choice");
  const inputs = Object.keys(options).map((key) =>
    make("input", { type: "radio", name, value: key, checked: key === value }),
  );
  const labels = inputs.map((input) => make("label", {}, input, make("span", {}, options[input.value])));
  const set = make("fieldset", { className: "vglab-choice" }, make("legend", {}, label), ...labels);
  set.addEventListener("change", changed);
  parent.append(set);
  return {
    element: set,
    get value() {
      return inputs.find((input) => input.checked).value;
    },
    set value(next) {
      for (const input of inputs) input.checked = input.value === next;
    },
  };
};

/** One of many options. `options`: value -> words. */
const menu = (parent, { label, options, value }, changed) => {
  const id = newId("menu");
  const select = make(
    "select",
    { id },
    ...Object.entries(options).map(([key, words]) =>
      make("option", { value: key, selected: key === value }, words),
    ),
  );
  select.addEventListener("change", changed);
  parent.append(make("div", { className: "vglab-menu" }, make("label", { for: id }, label), select));
  return select;
};

/** A box to tick. */
const toggle = (parent, { label, value = false }, changed) => {
  const input = make("input", { type: "checkbox", checked: value });
  input.addEventListener("change", changed);
  parent.append(make("label", { className: "vglab-toggle" }, input, make("span", {}, label)));
  return {
    input,
    get value() {
      return input.checked;
    },
    set value(next) {
      input.checked = next;
    },
  };
};

const button = (parent, { label }, pressed) => {
  const element = make("button", { type: "button" }, label);
  element.addEventListener("click", pressed);
  parent.append(element);
  return element;
};

/**
 * The frame of an interactive figure.
 *
 * `panel.title(words)` names it; `panel.controls(changed)` returns makers of controls, each of
 * which calls `changed` on every change; `panel.draws(f)` calls `f(width)` at most once a frame, after
 * `panel.redraw()` or when the panel's width changes (kit.js's `draw` brings an SVG picture along);
 * `panel.say(words)` writes the finding below the picture, and a screen reader
 * hears it once the reader has stopped moving.
 */
export const makePanel = (name) => {
  const title = make("p", { className: "vglab-play-title", id: newId("title") });
  const controls = make("div", { className: "vglab-controls" });
  const stage = make("div", { className: "vglab-stage" });
  const finding = make("p", { className: "vglab-finding" });
  const heard = make("p", { className: "vglab-heard", role: "status" });
  const element = make(
    "section",
    { className: `vglab-panel vglab-play-${name}`, "aria-labelledby": title.id },
    title,
    controls,
    stage,
    finding,
    heard,
  );
  let redraw = () => {};
  let timer;

  return {
    element,
    stage,
    finding,
    title(words) {
      title.textContent = words;
    },
    controls(changed, parent = controls) {
      const makers = { slider, choice, menu, toggle, button };
      return Object.fromEntries(
        Object.entries(makers).map(([kind, maker]) => [
          kind,
          (options, then = changed) => maker(parent, options, then),
        ]),
      );
    },
    draws(picture) {
      redraw = oncePerFrame(() => {
        const width = stage.clientWidth;
        if (width) picture(width);
      });
      new ResizeObserver(redraw).observe(stage);
      redraw();
    },
    redraw: () => redraw(),
    say(words) {
      if (finding.textContent === words) return;
      finding.textContent = words;
      clearTimeout(timer);
      timer = setTimeout(() => (heard.textContent = words), 700);
    },
    t,
  };
};
