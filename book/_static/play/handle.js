// A point in a plot that the pointer drags and the arrow keys move.
import { make } from "./panel.js";

const TOWARDS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };

/**
 * Adds a handle to a panel's stage. `moved(x, y)` is told where the reader wants it, in the plot's
 * units, and `home()` that the Home key was pressed; both return where it is then. An arrow key
 * moves by `step`, with Shift by a tenth of it. The result's `place(plot, [x, y], words)` puts it there: `plot` holds the scales `x`
 * and `y` and the plot's `left` and `top` on the stage, `words` say where that is. `listen(ground)`
 * lets the reader press on a d3 selection as well: a mouse drags from there, a finger taps.
 */
export const makeHandle = (panel, { label, step, moved, home }) => {
  const handle = make("div", {
    className: "vglab-handle",
    role: "slider",
    tabIndex: 0,
    "aria-label": label,
  });
  panel.stage.append(handle);
  let plot;
  let at;
  let origin; // of the plot on the page, measured once a drag: in each frame it would cost a layout

  const measure = () => {
    const box = panel.stage.getBoundingClientRect();
    origin = [box.left + scrollX + plot.left, box.top + scrollY + plot.top];
  };
  const follow = ({ pageX, pageY }) => {
    at = moved(plot.x.invert(pageX - origin[0]), plot.y.invert(pageY - origin[1]));
  };
  const grab = (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    handle.focus({ preventScroll: true });
    handle.setPointerCapture(event.pointerId);
    measure();
  };

  handle.addEventListener("pointerdown", grab);
  handle.addEventListener("pointermove", (event) => {
    if (handle.hasPointerCapture(event.pointerId)) follow(event);
  });
  handle.addEventListener("keydown", (event) => {
    const towards = TOWARDS[event.key];
    if (!towards && event.key !== "Home") return;
    event.preventDefault();
    const size = event.shiftKey ? step / 10 : step;
    at = towards ? moved(...at.map((value, i) => value + size * towards[i])) : home();
  });

  return {
    listen(ground) {
      ground.on("pointerdown", (event) => {
        if (event.pointerType === "touch") return;
        grab(event);
        follow(event);
      });
      ground.on("click", (event) => {
        measure();
        follow(event);
      });
    },
    place(newPlot, point, words) {
      [plot, at] = [newPlot, point];
      const [least, most] = plot.x.domain();
      const says = { valuemin: least, valuemax: most, valuenow: at[0], valuetext: words };
      for (const [name, value] of Object.entries(says)) handle.setAttribute(`aria-${name}`, value);
      const [x, y] = [plot.left + plot.x(at[0]), plot.top + plot.y(at[1])];
      handle.style.transform = `translate(${x}px, ${y}px)`;
    },
  };
};
