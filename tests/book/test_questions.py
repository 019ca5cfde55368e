"""Every way in which a chapter's questions can be malformed is provoked here, and seen."""

import nbformat
import pytest
import questions
from throwaway import twins

SECTION = """\
**Question 1.** You halve $x$. What
happens?

<details><summary>Nothing.</summary>

**No.** It was measured, and something happens.

</details>

<details><summary>It halves, for <i>x</i> is a factor.</summary>

**Right.** The product has $x$ in it once.

It stands so in the chapter.

</details>

**Question 2.** Which of these are odd?

<details><summary>One, three and five</summary>

**Right.** None of them is a multiple of two.

</details>

<details><summary>Seven, which is a prime number</summary>

**Right.** No multiple of two is seven.

</details>

<details><summary>Two</summary>

**Not quite.** It is a prime, and even for all that.

</details>

**Question 3.** Why?

<details><summary>Because</summary>

**No.** That is no reason for any of it.

</details>

<details><summary>Why not</summary>

**Right.** Nothing in the chapter speaks against it.

</details>
"""


def notebook(section=SECTION, *, before="## Exercises\n\nOne.", after="## What you can do now"):
    cells = [before, f"## Check yourself\n\n{section}\n{after}\n\nAll."]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(c) for c in cells])


def found(*arguments, **named):
    return list(questions.question_problems(notebook(*arguments, **named)))


def test_a_sound_section_is_read_and_passes():
    assert found() == []
    read, strays = questions.read(SECTION)
    assert strays == []
    assert [(q.number, q.text) for q in read] == [
        (1, "You halve $x$. What happens?"),
        (2, "Which of these are odd?"),
        (3, "Why?"),
    ]
    assert [[o.right for o in q.options] for q in read] == [[0, 1], [1, 1, 0], [0, 1]]
    assert read[0].options[1].text == "It halves, for <i>x</i> is a factor."
    assert (
        read[0].options[1].reason == "The product has $x$ in it once. It stands so in the chapter."
    )


def option(text, body):
    return f"<details><summary>{text}</summary>\n\n{body}\n\n</details>\n\n"


DAMAGE = {
    "two questions": ((SECTION.split("**Question 3")[0],), "2 questions; 3 to 5 are wanted"),
    "numbers": ((SECTION.replace("Question 3", "Question 4"),), "not numbered 1, 2, 3"),
    "stray text": (("Good luck.\n\n" + SECTION,), "neither a question nor an option: 'Good luck.'"),
    "option first": ((option("A", "**No.** x") + SECTION,), "neither a question nor an option"),
    "no blank line": (
        (SECTION.replace("Nothing.</summary>\n", "Nothing.</summary>"),),
        "neither a question nor an option: '<details><summary>Nothing.",
    ),
    "one option": (
        (SECTION.replace(option("Why not", "").split("\n")[0], "<p>"),),
        "question 3: 1 options; at least two",
    ),
    "none right": ((SECTION.replace("**Right.** Nothing", "**No.** Nothing"),), "is right and one"),
    "all right": ((SECTION.replace("**No.** That", "**Right.** That"),), "is right and one"),
    "no verdict": (
        (SECTION.replace("**No.** That", "That"),),
        "'Because' must unfold to **Right.**",
    ),
    "another word": ((SECTION.replace("**No.** That", "**Nope.** That"),), "must unfold to"),
    "no reason": ((SECTION.replace("That is no reason for any of it", "No"),), "does not say why"),
    "formula": ((SECTION.replace(">Two<", ">$2$<"),), "'$2$' holds '$'"),
    "markdown": ((SECTION.replace(">Two<", ">**Two**<"),), "holds '**'"),
    "same question": (
        (SECTION.replace("Why?", "Which of these are odd?"),),
        "questions are the same",
    ),
    "same option": ((SECTION.replace(">Two<", ">One, three and five<"),), "options are the same"),
    "same reason": (
        (
            SECTION.replace(
                "Nothing in the chapter speaks against it", "That is no reason for any of it"
            ),
        ),
        "the same reason",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), DAMAGE.values(), ids=DAMAGE)
def test_check_sees(arguments, message):
    messages = found(*arguments)
    assert any(message in problem for problem in messages), messages


@pytest.mark.parametrize(
    "named", [{"before": "## The idea\n\nx"}, {"after": "## Sources"}, {"before": "Text."}]
)
def test_the_section_has_one_place(named):
    assert "must stand between `## Exercises` and" in found(**named)[0]


def three(*rights, longest):
    """Three questions with the right option at these places, the longest one or not."""
    text = ""
    for number, right in enumerate(rights, start=1):
        text += f"**Question {number}.** What is {number}?\n\n"
        for place in (1, 2, 3):
            verdict, more = ("Right.", longest) if place == right else ("No.", not longest)
            body = f"**{verdict}** Here is the reason for {number}, {place}."
            text += option(f"Option {place}" + ", at some length" * more, body)
    return text


def test_a_reader_cannot_guess_by_place_or_by_length():
    assert found(three(1, 2, 1, longest=False)) == []
    assert "always stands at the same place" in found(three(2, 2, 2, longest=False))[0]
    assert "always the longest" in found(three(1, 2, 3, longest=True))[0]


def test_a_chapter_with_exercises_can_be_made_to_need_questions(monkeypatch):
    cell = nbformat.v4.new_markdown_cell("## Exercises\n\nOne.\n\n## What you can do now")
    bare = nbformat.v4.new_notebook(cells=[cell])
    without = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("## The idea")])
    monkeypatch.setattr(questions, "EVERY_CHAPTER", False)
    assert list(questions.question_problems(bare)) == []
    monkeypatch.setattr(questions, "EVERY_CHAPTER", True)
    assert "no section `## Check yourself`" in next(questions.question_problems(bare))
    assert list(questions.question_problems(without)) == []


def test_the_questions_survive_the_way_through_a_twin():
    setup = "\n```{code-cell}\n{{ setup }}\n```\n"
    twin = f"{twins.HEADER}\n# A chapter\n{setup}\n## Exercises\n\nOne.\n\n## Check yourself\n\n"
    twin += SECTION + "\n## What you can do now\n\nAll.\n"
    made = twins.parse(twin, "pass")
    assert twins.unparse(made) == twin
    assert list(questions.question_problems(made)) == []
