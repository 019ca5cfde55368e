// A term's definition in a small box: on hover, on focus, on a first tap. Escape puts it away.
const DELAY = 150; // milliseconds before it comes
const GRACE = 300; // and before it goes, so that the pointer can reach it
const EDGE = 8; // pixels kept free at the window's sides

/** Put a box right below a link's first line, or above it where there is no room. */
const settle = (box, link) => {
  const [line] = link.getClientRects();
  const base = box.offsetParent.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const left = Math.max(EDGE, Math.min(line.left, width - box.offsetWidth - EDGE));
  const below = line.bottom + box.offsetHeight < innerHeight || line.top < box.offsetHeight;
  const top = below ? line.bottom : line.top - box.offsetHeight;
  box.style.left = `${left - base.left}px`;
  box.style.top = `${top - base.top}px`;
};

const attach = (link, box) => {
  let timer;
  let tapped = false; // by a finger, before the box was there
  const show = () => {
    clearTimeout(timer);
    document.querySelectorAll(".vglab-definition:not([hidden])").forEach((other) => (other.hidden = true));
    box.hidden = false;
    settle(box, link);
  };
  const hide = () => {
    clearTimeout(timer);
    box.hidden = true;
  };
  const later = (act, wait) => {
    clearTimeout(timer);
    timer = setTimeout(act, wait);
  };
  link.setAttribute("aria-describedby", box.id);
  for (const part of [link, box]) {
    part.addEventListener("pointerenter", ({ pointerType }) => {
      if (pointerType !== "touch") later(show, box.hidden ? DELAY : 0);
    });
    part.addEventListener("pointerleave", ({ pointerType }) => {
      if (pointerType !== "touch") later(hide, GRACE);
    });
  }
  link.addEventListener("pointerdown", ({ pointerType }) => {
    tapped = pointerType === "touch" && box.hidden;
  });
  link.addEventListener("focus", () => link.matches(":focus-visible") && show());
  link.addEventListener("blur", () => later(hide, GRACE));
  link.addEventListener("click", (event) => {
    if (!tapped) return;
    tapped = false;
    event.preventDefault();
    show();
  });
  document.addEventListener("keydown", ({ key }) => key === "Escape" && hide());
  document.addEventListener("pointerdown", ({ target }) => {
    if (!box.hidden && !box.contains(target) && !link.contains(target)) hide();
  });
};

export const showDefinitions = () => {
  for (const link of document.querySelectorAll("a.vglab-term")) {
    const box = document.getElementById(`vglab-${decodeURIComponent(link.hash.slice(1))}`);
    if (box) attach(link, box);
  }
};
