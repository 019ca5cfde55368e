// Brings the page's interactive figures to life, each when it comes near the window.
//
// A figure is a code cell tagged `play-NAME`, whose picture is what Colab, print and a browser
// without JavaScript show, or an element `<div class="vglab-play" data-play="NAME">` that holds
// such a picture. NAME.js in this folder exports `build(panel)`; see panel.js for the panel.
const NEAR = "600px";

const start = async (still, name) => {
  const [{ makePanel }, { build }] = await Promise.all([
    import("./panel.js"),
    import(`./${name}.js`),
  ]);
  const panel = makePanel(name);
  still.before(panel.element);
  try {
    await build(panel);
  } catch (error) {
    panel.element.remove(); // the picture stays
    throw error;
  }
  still.classList.add("vglab-still");
  panel.element.classList.add("ready");
};

const found = [
  ...[...document.querySelectorAll('div.cell[class*="tag_play-"]')].map((cell) => ({
    still: cell.querySelector(".vglab-figure"),
    name: /tag_play-([\w-]+)/.exec(cell.className)[1],
  })),
  ...[...document.querySelectorAll("[data-play]")].map((box) => ({
    still: box.firstElementChild,
    name: box.dataset.play,
  })),
].filter(({ still }) => still);

const names = new Map(found.map(({ still, name }) => [still, name]));
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      start(target, names.get(target));
    }
  },
  { rootMargin: NEAR },
);
names.forEach((_, still) => watcher.observe(still));
