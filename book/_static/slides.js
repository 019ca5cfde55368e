// Slides on a wide screen, one page to scroll on a narrow one (or with ?page, or without scripts).
(() => {
  const root = document.currentScript.dataset.root;
  const html = document.documentElement;
  const asked = new URLSearchParams(location.search);
  const print = asked.has("print-pdf");
  const shown = print || asked.has("receiver"); // on paper, or in the speaker's window
  const deck = !asked.has("page") && (shown || matchMedia("(min-width: 700px)").matches);

  let chosen = null; // the choice made on the book's pages
  try { chosen = localStorage.getItem("mode"); } catch { /* storage may be closed to us */ }
  const dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  html.dataset.theme = dark && !print ? "dark" : "light";

  if (deck) {
    html.classList.add("deck");
    for (const name of ["reset", "reveal"]) {
      const sheet = document.createElement("link");
      sheet.rel = "stylesheet";
      sheet.href = `${root}reveal/${name}.css`;
      document.head.prepend(sheet);
    }
  }

  // Wide formulas and long slides shrink until they fit, but text stays at 24 pixels or more.
  async function fit() {
    html.classList.add("measuring");
    document.body.getBoundingClientRect(); // what is laid out asks for its fonts
    await document.fonts.ready;
    const full = (box) => box.scrollHeight > box.clientHeight + 1 || box.scrollWidth > box.clientWidth + 1;
    for (const frame of document.querySelectorAll(".frame")) {
      for (const box of frame.querySelectorAll(".formula")) {
        for (let size = 1.3; box.scrollWidth > box.clientWidth && size >= 0.6; size -= 0.05) box.style.fontSize = `${size}em`;
      }
      const body = frame.querySelector(".body");
      const boxes = [...body.children].map((box) => ({
        box,
        size: parseFloat(getComputedStyle(box).fontSize),
        least: box.classList.contains("formula") ? 20 : 24,
      }));
      for (let share = 0.98; full(body) && share > 0.6; share -= 0.02) {
        for (const { box, size, least } of boxes) {
          if (size > least) box.style.fontSize = `${Math.max(least, size * share)}px`;
        }
      }
    }
    html.classList.remove("measuring");
  }

  addEventListener("load", async () => {
    if (!deck) return;
    await fit();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    await Reveal.initialize({
      width: 1280, height: 720, margin: 0, minScale: 0.1, maxScale: 4, center: false,
      hash: true, slideNumber: "c/t", controlsLayout: "edges", controlsTutorial: false,
      scrollActivationWidth: null, pdfSeparateFragments: false,
      transition: calm ? "none" : "slide", transitionSpeed: "fast",
      keyboard: { 33: "left", 34: "right" }, // a presenter's remote keeps to the main line
      plugins: [RevealNotes],
    });
    Reveal.addKeyBinding({ keyCode: 84, key: "T", description: "Light or dark" }, () => {
      html.dataset.theme = html.dataset.theme === "dark" ? "light" : "dark";
    });
    html.classList.add("ready");
  });
})();
