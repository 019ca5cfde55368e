// The key "/" opens the search, as Ctrl+K does.
export const searchByKey = () => {
  document.addEventListener(
    "keydown",
    (event) => {
      const { target, key, ctrlKey, metaKey, altKey } = event;
      if (key !== "/" || ctrlKey || metaKey || altKey) return;
      if (target.isContentEditable || target.matches?.("input, textarea, select")) return;
      const button = document.querySelector(".search-button__button");
      if (!button) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      button.click();
    },
    true,
  );
};
