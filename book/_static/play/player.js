// A button that plays what a slider shows.
import { calm } from "./panel.js";
import { t } from "./strings.js";

/**
 * Adds a button that moves `slider` on to its end, `pace()` places a second, or at once for a
 * reader who wants no motion. At the end it starts anew. `changed` is called after every move; the
 * result's `stop()` is for whoever moves the slider by hand.
 */
export const playButton = (controls, slider, pace, changed) => {
  let frame = null;
  const stop = () => {
    cancelAnimationFrame(frame);
    frame = null;
    button.textContent = t("Play");
  };
  const play = () => {
    const [least, most] = [Number(slider.input.min), Number(slider.input.max)];
    if (calm()) {
      slider.value = most;
      changed();
      return;
    }
    const first = slider.value < most ? slider.value : least;
    const began = performance.now();
    const advance = (now) => {
      const moved = Math.floor((Math.max(now - began, 0) / 1000) * pace());
      if (first + moved !== slider.value) {
        slider.value = Math.min(first + moved, most);
        changed();
      }
      if (slider.value < most) frame = requestAnimationFrame(advance);
      else stop();
    };
    button.textContent = t("Pause");
    frame = requestAnimationFrame(advance);
  };
  const button = controls.button({ label: t("Play") }, () => (frame === null ? play() : stop()));
  return { stop };
};
