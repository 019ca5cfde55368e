// A guess written down beside a prediction is there again the next time.
import { load, page, update } from "./store.js";

export const rememberGuesses = () => {
  const written = load().guesses[page] ?? {};
  for (const input of document.querySelectorAll("input[data-guess]")) {
    const { guess } = input.dataset;
    input.value = written[guess] ?? "";
    input.addEventListener("change", () =>
      update(({ guesses }) => {
        const here = (guesses[page] ??= {});
        if (input.value.trim()) here[guess] = input.value.trim();
        else delete here[guess];
      }),
    );
  }
};
