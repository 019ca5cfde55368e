// The switch to another language keeps the place on the page: its sections have the same anchors.
for (const link of document.querySelectorAll(".vglab-language")) {
  link.addEventListener("click", () => (link.hash = location.hash));
}
