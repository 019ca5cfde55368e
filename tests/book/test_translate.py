"""Translations: what is asked for, what an edit of the English does, and what a fault is."""

import html
import re

import nbformat
import pytest
from throwaway import ADDRESS, ROOT, twins

import catalogues  # isort: skip
import faults  # isort: skip
import passages  # isort: skip
import sitewords  # isort: skip
import spoken  # isort: skip
import translate  # isort: skip
from vglab.claims import Claim
from vglab.exercises import Result

LEARN = "A network learns **slowly** at $\\eta = 0.1$, in 40 steps, with `fit`."
LEARN_ZH = "网络在 $\\eta = 0.1$ 时用 `fit` 学得**很慢**，要 40 步。"
TEXT = f"""\
## Why it is slow

{LEARN.replace(" at ", " at" + chr(10))}

$$\\theta = 1 - \\text{{a formula}}$$

```python
print("code stays")
```

- The first point, which is
  broken into lines.
- The second: [a link](other.ipynb).

| what | how much |
|---|---|
| some words | $x$ |

> **Predict.** What happens?

## Check yourself

**Question 1.** Which one?

<details><summary>The <code>first</code> one</summary>

**Right.** It is the first.

</details>
"""
SVG = """\
<svg width="9" viewBox="0 0 9 9"><text x="1">a line &amp; more</text>
<text x="2">0.5</text><text x="3">η = 2</text></svg>"""
CLAIM = Claim("it's small", "< 1", "0.5 (0.4 to 0.6, n = 3)", "<", None, "closed form", True)
TERMS = """\
msgid "Predict."
msgstr "预测。"

msgid "Question {n}."
msgstr "问题 {n}。"

msgid "Right."
msgstr "对。"

msgid "Check yourself"
msgstr "自测"
"""
FORMS = {"Predict.": "预测。", "Question {n}.": "问题 {n}。"}


def page():
    code = nbformat.v4.new_code_cell(
        "claim(...)  # a comment stays", execution_count=1, id="cell-2"
    )
    code.metadata["mystnb"] = {"image": {"alt": "A picture of a line."}}
    for data in (
        {"image/svg+xml": SVG, "text/plain": "<Figure>"},
        CLAIM._repr_mimebundle_(),
        Result(True, "right on 3 inputs")._repr_mimebundle_(),
    ):
        code.outputs.append(nbformat.v4.new_output("display_data", data))
    cells = [nbformat.v4.new_markdown_cell(TEXT, id="cell-1"), code]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "_config.yml").write_text(f"title: A book\nrepository: {{url: {ADDRESS}}}\n")
    put(tmp_path, page())
    twins.write(catalogues.path_of(tmp_path, "zh", "terms"), TERMS)
    translate.update(tmp_path, "zh", ["part/page"])
    return tmp_path


def put(root, notebook):
    twins.write(root / "book" / "part" / "page.ipynb", twins.dump(notebook))


def edit(root, old, new):
    notebook = page()
    assert old in notebook.cells[0].source
    notebook.cells[0].source = notebook.cells[0].source.replace(old, new)
    put(root, notebook)


def say(root, translations):
    """Do what a translator does: fill in the file."""
    path = catalogues.path_of(root, "zh", "part/page")
    text = path.read_text()
    for english, chinese in translations.items():
        quoted = [t.replace("\\", "\\\\").replace('"', '\\"') for t in (english, chinese)]
        before = f'msgid "{quoted[0]}"\nmsgstr ""'
        assert before in text, english
        text = text.replace(before, f'msgid "{quoted[0]}"\nmsgstr "{quoted[1]}"')
    path.write_text(text)


ALL = {
    "Why it is slow": "为什么慢",
    LEARN: LEARN_ZH,
    "The first point, which is broken into lines.": "第一点。",
    "The second: [a link](other.ipynb).": "第二点：[链接](other.ipynb)。",
    "what": "内容",
    "how much": "多少",
    "some words": "几个词",
    "**Predict.** What happens?": "**预测。** 会怎样？",
    "**Question 1.** Which one?": "**问题 1。** 是哪一个？",
    "The <code>first</code> one": "<code>first</code> 那个",
    "**Right.** It is the first.": "**对。** 是第一个。",
    "A picture of a line.": "一条线。",
    "a line & more": "一条线",
    "it's small": "它很小",
    "{1} ({2} to {3}, n = {4})": "{1}（{2} 至 {3}，n = {4}）",
    "closed form": "闭式解",
    "right on {1} inputs": "在 {1} 组输入上正确",
}


def test_extraction_is_in_the_order_of_reading_without_formulas_code_and_numbers(root):
    entries = translate.entries(root, "part/page")
    assert [e.text for e in entries] == [*[*ALL][:8], "Check yourself", *[*ALL][8:]]
    notes = {e.text: e.notes for e in entries}
    assert notes["Why it is slow"] == ["part/page, cell 1: heading"]
    assert notes["**Question 1.** Which one?"] == ["part/page, cell 1: question"]
    assert notes["The <code>first</code> one"] == ["part/page, cell 1: option"]
    assert notes["a line & more"] == ["part/page, cell 2: figure text"]
    assert notes["it's small"] == ["part/page, cell 2: claim"]


def test_what_is_not_translated_stays_byte_for_byte():
    for path in (ROOT / "book").rglob("*.md"):
        text = path.read_text()
        assert passages.rewrite(text, lambda _kind, old: old) == text, path
    notebook = page()
    assert translate.translated(notebook, {}) == notebook


def test_directives_give_their_titles_captions_and_alternative_texts():
    text = (
        "---\nfront: matter\n---\n```{figure} a.svg\n:alt: What is seen\n:width: wide\n\n"
        "A caption\nover lines.\n```\n::::{grid} 1 1\n:::{grid-item-card} A card\n"
        ":link: some/page\nIts text\n:::\n::::\n"
        "```{glossary}\nterm\n  Its meaning,\n  at length.\n```\nAfter it.\n"
    )
    found = []
    new = passages.rewrite(text, lambda kind, old: found.append((kind, old)) or f"<{old}>")
    assert found == [
        ("alternative text", "What is seen"),
        ("caption", "A caption over lines."),
        ("heading", "A card"),
        ("prose", "Its text"),
        ("prose", "term"),
        ("prose", "Its meaning, at length."),
        ("prose", "After it."),
    ]
    assert (
        "```{figure} a.svg\n:alt: <What is seen>\n:width: wide\n\n<A caption over lines.>\n" in new
    )
    assert ":::{grid-item-card} <A card>\n:link: some/page\n<Its text>\n:::\n" in new
    assert "<term>\n  <Its meaning, at length.>\n```\n<After it.>\n" in new


def test_a_complete_translation_is_sound_and_update_leaves_it_as_it_is(root):
    assert len(translate.problems(root, "zh")) == len(ALL)  # the agreed forms are there already
    say(root, ALL)
    assert translate.problems(root, "zh") == []
    path = catalogues.path_of(root, "zh", "part/page")
    before = path.read_text()
    translate.update(root, "zh")
    assert path.read_text() == before
    assert str(root) not in before and "POT-Creation-Date" not in before


def test_rewrapping_the_english_is_no_change(root):
    say(root, ALL)
    edit(root, "in 40 steps", "in 40\nsteps")
    assert translate.problems(root, "zh") == []


def test_check_lists_what_changed_and_update_keeps_the_old_text(root):
    say(root, ALL)
    edit(root, "in 40 steps", "in 60 steps")
    told = "\n".join(translate.problems(root, "zh"))
    changed = LEARN.replace("40", "60")
    assert f"was: {LEARN}\n    now: {changed}\n" in told
    assert "[-40-] {+60+}" in told
    assert "not up to date" in told
    translate.update(root, "zh")
    message = catalogues.load_catalogue(catalogues.path_of(root, "zh", "part/page"))[changed]
    assert message.fuzzy and message.string == LEARN_ZH and message.previous_id == [LEARN]
    told = translate.problems(root, "zh")
    assert len(told) == 1 and f"was: {LEARN}\n" in told[0]

    edit(root, "in 40 steps", "in 80 steps")  # twice: the translation is still that of 40
    translate.update(root, "zh")
    assert f"was: {LEARN}\n" in translate.problems(root, "zh")[0]
    put(root, page())  # and back
    translate.update(root, "zh")
    assert translate.problems(root, "zh") == []


def test_what_is_fuzzy_is_not_used(root):
    say(root, ALL)
    edit(root, "in 40 steps", "in 60 steps")
    translate.update(root, "zh")
    assert LEARN_ZH not in translate.ways_of(root, "zh", "part/page").values()


def test_what_went_is_left_over_then_kept_as_obsolete_and_comes_back(root):
    say(root, ALL)
    edit(root, LEARN.replace(" at ", " at\n"), "")
    told = translate.problems(root, "zh")
    assert any("left over" in one and LEARN[:20] in one for one in told)
    translate.update(root, "zh")
    assert translate.problems(root, "zh") == []
    assert '#~ msgstr "网络' in catalogues.path_of(root, "zh", "part/page").read_text()
    put(root, page())
    translate.update(root, "zh")
    assert translate.problems(root, "zh") == []


@pytest.mark.parametrize(
    ("english", "chinese", "fault"),
    [
        (LEARN, LEARN_ZH.replace("0.1", "0.2"), "lost 1 × formula $\\eta = 0.1$"),
        (LEARN, LEARN_ZH.replace("40 ", ""), "lost the number 40"),
        (LEARN, LEARN_ZH.replace("40", "41"), "added the number 41"),
        (LEARN, LEARN_ZH.replace("`fit`", "fit"), "lost 1 × code span `fit`"),
        (LEARN, LEARN_ZH.replace("**", ""), "lost 1 × bold"),
        (LEARN, LEARN, "is still English"),
        ("See [it](a.ipynb).", "见[它](b.ipynb)。", "lost 1 × link to a.ipynb"),
        ("The <code>x</code>", "这个 x", "lost 1 × HTML tag <code>"),
        ("See {term}`it <weight>`.", "见 {term}`它 <weights>`。", "lost 1 × role {term}`weight`"),
        ("{n} of {m}", "{n} 个", "lost 1 × blank {m}"),
        ("**Predict.** What?", "**预言。** 什么？", "must begin with **预测。** and a space"),
        (
            "**Question 2.** What?",
            "**问题 3。** 什么？",
            "must begin with **问题 2。** and a space",
        ),
        ("**Predict.** What?", "**预测。**什么？", "lost 1 × bold"),  # Markdown sees none here
        ("A point.", "1. 一点。", "is no longer one block of the same kind"),
        ("A point.", "一点。\n\n两点。", "space at an end, or a broken line"),
    ],
)
def test_a_translation_that_loses_something_is_refused(english, chinese, fault):
    assert any(fault in one for one in faults.faults(english, chinese, FORMS))


def test_a_translation_may_count_in_figures_and_set_off_thousands_otherwise():
    assert not list(faults.faults("Five runs, 4,000 steps.", "5 次，每次 4000 步。", {}))
    assert not list(faults.faults(LEARN, LEARN_ZH, FORMS))
    roles = ("See {term}`weights <weight>`.", "见{term}`权重 <weight>`。")
    assert not list(faults.faults(*roles, {}))


def test_a_translated_notebook_has_the_same_code_claims_and_figures(root):
    say(root, ALL)
    old = page()
    new = translate.translated(old, translate.ways_of(root, "zh", "part/page"))
    assert old == page()
    assert [c.source for c in new.cells[1:]] == [c.source for c in old.cells[1:]]
    data = [output.data for output in new.cells[1].outputs]
    assert [sorted(d) for d in data] == [sorted(o.data) for o in old.cells[1].outputs]
    assert new.cells[1].metadata.mystnb.image.alt == "一条线。"
    assert (
        ">一条线</text>" in data[0]["image/svg+xml"] and ">0.5</text>" in data[0]["image/svg+xml"]
    )
    claim = twins.claims(new)[0]
    assert claim["anchor"] == CLAIM.anchor and claim["holds"] is True
    assert claim["statement"] == "它很小" and claim["measured"] == "0.5（0.4 至 0.6，n = 3）"
    said = html.unescape(re.sub(r"<[^>]+>", "", data[1]["text/html"]))
    assert said == "✓ 它很小 expected < 1 measured 0.5（0.4 至 0.6，n = 3） 闭式解"
    assert f'id="{CLAIM.anchor}"' in data[1]["text/html"]
    assert data[2]["text/html"] == '<div class="vglab-check passed">✓ 在 3 组输入上正确</div>'
    assert LEARN_ZH in new.cells[0].source and "code stays" in new.cells[0].source


def test_labels_of_a_claim_are_the_sites(root):
    ways = {"expected": "预期", "measured": "实测", "holds": "成立"}
    data = translate.translated(page(), ways).cells[1].outputs[1].data
    assert "<small>预期</small> &lt; 1<" in data["text/html"]
    assert 'aria-label="成立"' in data["text/html"]
    assert data["text/plain"].startswith("✓ it's small: 预期 < 1, 实测 0.5 ")
    assert {"expected", "measured", "holds"} <= {t for _, t in sitewords.site_words(root)}


def test_translated_headings_keep_their_english_anchors(root):
    say(root, ALL)
    new = translate.translated(page(), translate.ways_of(root, "zh", "part/page"))
    assert "<!-- anchor: why-it-is-slow -->\n\n## 为什么慢\n" in new.cells[0].source
    assert "<!-- anchor: check-yourself -->\n\n## 自测\n" in new.cells[0].source
    assert passages.anchor("A net: 784 inputs, $x$") == "a-net-784-inputs-x"
    assert passages.anchor("Exercise 2: He's rule") == "exercise-2-hes-rule"  # as the site has it


def test_words_of_scripts_templates_and_tools_are_the_sites(root):
    for name, text in {
        "_static/play/a.js": """// t("a comment")\nset(t("Step {n}"), t('it\\'s'), at("no"));""",
        "_templates/a.html": """<p>{{ t("In a template") }}</p>""",
        "_tools/a.py": """x = t("From a tool") + test("no") + y.t("no")""",
    }.items():
        twins.write(root / "book" / name, text)
    words = [text for _, text in sitewords.site_words(root)]
    assert words[0] == "A book"
    assert words[-4:] == ["Step {n}", "it's", "In a template", "From a tool"]


def test_the_command_fails_where_a_translation_is_missing(root, monkeypatch, capsys):
    monkeypatch.setattr(translate, "ROOT", root)
    assert translate.main(["check", "zh"]) == 1
    assert "zh/part/page: cell 1: missing: Why it is slow" in capsys.readouterr().err
    say(root, ALL)
    assert translate.main(["check", "zh"]) == 0
    assert translate.main(["check", "xx"]) == 1
    assert translate.main(["update", "zh", "no/such"]) == 1


def test_every_text_of_a_page_is_found_where_it_is_seen():
    seen = [text for _, _, text in spoken.spoken(page().cells)]
    assert seen.count("Check yourself") == 1 and "η = 2" not in seen and "0.5" not in seen
