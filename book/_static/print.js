// Paper is light: whatever the reader's theme, print in the light colours and go back afterwards.
const root = document.documentElement;
let before;

addEventListener("beforeprint", () => {
  before = root.dataset.theme;
  root.dataset.theme = "light";
});
addEventListener("afterprint", () => {
  if (before) root.dataset.theme = before;
});
