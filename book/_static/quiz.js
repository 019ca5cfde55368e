// Makes a form of each question in "Check yourself". Without it, every option is a box that unfolds.
import { t } from "./play/strings.js";

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// The source: a paragraph that begins in bold, then one <details> for each option.
const read = (section) => {
  const questions = [];
  for (const child of section.children) {
    const start = child.matches("p") && child.querySelector(":scope > strong:first-child");
    if (start && child.nextElementSibling?.matches("details")) {
      questions.push({ paragraph: child, options: [] });
    } else if (child.matches("details") && questions.length) {
      questions.at(-1).options.push(child);
    }
  }
  return questions.filter((question) => question.options.length);
};

const enhance = ({ paragraph, options: boxes }, number) => {
  const verdicts = boxes.map((box) => box.querySelector("strong").textContent);
  const total = verdicts.filter((verdict) => verdict === t("Right.")).length;
  const type = total > 1 ? "checkbox" : "radio";
  const store = make("div", { hidden: true }); // in the page, so that its formulas are typeset
  const options = boxes.map((box, i) => {
    const summary = box.querySelector("summary");
    const input = make("input", { type, name: `question-${number + 1}`, value: i + 1 });
    const label = make("label", {}, input, make("span", { innerHTML: summary.innerHTML }));
    const right = verdicts[i] === t("Right.");
    summary.remove();
    const feedback = make("div", { className: `vglab-feedback ${right ? "right" : "wrong"}` });
    if (total > 1) feedback.append(make("p", {}, make("em", { innerHTML: summary.innerHTML })));
    feedback.append(...box.childNodes);
    store.append(feedback);
    return { input, label, right, feedback };
  });

  const legend = make("legend", {}, ...paragraph.childNodes);
  if (total > 1) legend.append(" ", t("Tick all that are right."));
  const region = make("div", { className: "vglab-verdict" });
  region.setAttribute("role", "status");
  region.setAttribute("aria-live", "polite");
  const clear = () => {
    store.append(...region.querySelectorAll(".vglab-feedback"));
    region.replaceChildren();
  };
  const check = () => {
    clear();
    const chosen = options.filter(({ input }) => input.checked);
    const found = chosen.filter(({ right }) => right).length;
    if (!chosen.length) region.append(make("p", {}, t("Choose an answer first.")));
    else if (total > 1) region.append(make("p", {}, t("Right answers found: {found} of {total}.", { found, total })));
    region.append(...chosen.map(({ feedback }) => feedback));
  };

  const form = make(
    "form",
    { className: "vglab-question", autocomplete: "off" },
    make("fieldset", {}, legend, ...options.map(({ label }) => label)),
    make("button", { type: "submit" }, t("Check")),
    region,
    store,
  );
  form.addEventListener("change", clear);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    check();
  });
  paragraph.replaceWith(form);
  boxes.forEach((box) => box.remove());
};

const section = document.getElementById("check-yourself");
if (section) read(section).forEach(enhance);
