// Which chapters are read, where one stopped, which questions are solved.
import { t } from "../play/strings.js";
import { address, forget, load, page, update, updateChapter } from "./store.js";

const aside = (text) =>
  Object.assign(document.createElement("span"), { className: "vglab-hidden", textContent: text });

/** Tick the chapters that are read in the table of contents. */
const tick = () => {
  const { chapters } = load();
  const read = new Set(Object.keys(chapters).filter((name) => chapters[name].done).map((n) => address(n)));
  for (const link of document.querySelectorAll(".bd-links a.reference.internal")) {
    const is = read.has(link.href.split("#")[0]);
    if (is === link.classList.contains("vglab-read")) continue;
    link.classList.toggle("vglab-read", is);
    if (is) link.append(aside(` (${t("read")})`));
    else link.querySelector(".vglab-hidden")?.remove();
  }
};

/** The button below a chapter's summary; reaching the summary presses it. */
const finish = (button) => {
  const show = () => {
    const done = Boolean(load().chapters[page]?.done);
    button.setAttribute("aria-pressed", done);
    tick();
  };
  const set = (done) => {
    updateChapter((chapter) => (chapter.done = done));
    show();
  };
  const watcher = new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    watcher.disconnect();
    set(true);
  });
  button.addEventListener("click", () => {
    watcher.disconnect(); // from here on the reader decides
    set(button.getAttribute("aria-pressed") !== "true");
  });
  show();
  watcher.observe(button.closest("section"));
};

/** Keep the last heading that passed the upper part of the window. */
const place = () => {
  const seen = new IntersectionObserver(
    (entries) => {
      const heading = entries.filter(({ isIntersecting }) => isIntersecting).at(-1)?.target;
      if (!heading) return;
      const section = heading.parentElement.id;
      const words = [...heading.childNodes].filter((node) => !node.matches?.(".headerlink"));
      update((all) => {
        all.last = page;
        const name = heading.matches("h1") ? {} : { section, heading: words.map((n) => n.textContent).join("") };
        all.chapters[page] = { ...all.chapters[page], section: "", heading: "", ...name };
      });
    },
    { rootMargin: "0px 0px -50% 0px" },
  );
  document
    .querySelectorAll(".bd-article section[id] > :is(h1, h2)")
    .forEach((heading) => seen.observe(heading));
};

/** Remember a question that was answered right, and show it beside its button. */
const questions = () => {
  const forms = [...document.querySelectorAll(".vglab-question")];
  const show = (form) => {
    if (form.classList.contains("solved")) return;
    form.classList.add("solved");
    const told = Object.assign(document.createElement("span"), { className: "vglab-solved" });
    told.textContent = t("solved");
    form.querySelector("button").after(" ", told);
  };
  const solved = load().chapters[page]?.solved ?? [];
  forms.filter((_, number) => solved.includes(number + 1)).forEach(show);
  document.addEventListener("submit", ({ target }) => {
    const number = forms.indexOf(target) + 1;
    if (!number) return;
    const told = target.querySelectorAll(".vglab-verdict .vglab-feedback");
    const all = target.querySelectorAll(".vglab-feedback.right").length;
    if (!told.length || [...told].some((one) => !one.matches(".right")) || told.length < all) return;
    updateChapter((chapter) => (chapter.solved = [...new Set([...(chapter.solved ?? []), number])]));
    show(target);
  });
};

/** Fill the front page's box: where to go on, and how far one is. */
const front = (box) => {
  const order = JSON.parse(box.dataset.chapters);
  const fresh = box.innerHTML;
  const show = () => {
    const { chapters, last } = load();
    const done = order.filter(([name]) => chapters[name]?.done).length;
    box.querySelector("progress").value = done;
    box.querySelector(".count").textContent = t("{done} of {total} chapters", { done, total: order.length });
    box.querySelector(".forget").hidden = !last;
    const stopped = order.findIndex(([name]) => name === last);
    if (stopped < 0) return;
    const from = chapters[last]?.done ? [...order.slice(stopped), ...order.slice(0, stopped)] : [order[stopped]];
    const [name, title] = from.find(([one]) => !chapters[one]?.done) ?? order[stopped];
    const { section, heading } = chapters[name] ?? {};
    const link = Object.assign(document.createElement("a"), { href: address(name, section) });
    link.append(title, ...(heading ? [", ", heading] : []));
    const line = box.querySelector(".next");
    line.replaceChildren(done === order.length ? t("All read. Once more:") : t("Continue with"), " ", link);
  };
  box.addEventListener("click", ({ target }) => {
    if (!target.matches(".forget")) return;
    if (!confirm(t("Forget what you have read, solved and guessed in this book?"))) return;
    forget();
    box.innerHTML = fresh;
    show();
    tick();
    box.querySelector("a").focus();
  });
  show();
};

export const rememberProgress = () => {
  const button = document.querySelector(".vglab-finish button");
  const box = document.querySelector(".vglab-progress");
  tick();
  if (button) [() => finish(button), place, questions].forEach((part) => part());
  if (box) front(box);
  addEventListener("storage", tick); // another tab
};
