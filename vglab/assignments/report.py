"""Pages for people: feedback for each student, a summary and the written answers for who grades.

Every text in a record may come from a student and is shown as text, never as markup. Of hidden
tests a student learns how many passed, and nothing that tells them apart.
"""

from collections.abc import Sequence

from vglab.assignments._html import Child, Safe, block, name, page, table, tag
from vglab.assignments._summary import summary_html
from vglab.assignments._tables import Record, number, words, worth
from vglab.assignments.gradebook import points

__all__ = ["feedback_html", "summary_html", "written_html"]

LATER = "to be graded by your instructor"
STATES = {
    "stopped": "Grading your notebook was stopped",
    "unreadable": "Your file could not be read",
}


def feedback_html(record: Record, *, title: str) -> str:
    """One student's page: points, tests with what went wrong, and the written answers.

    Parameters
    ----------
    record
        One graded submission.
    title
        The assignment's title.
    """
    sums = points(record)
    due = sum(each["possible"] for each in record["questions"] if each["points"] is None)
    parts: list[Child] = [
        tag("p", title, class_="quiet"),
        tag("h1", "Feedback for ", name(record["student"])),
        tag("p", tag("strong", number(sums.total)), f" of {worth(sums.possible)}",
            f", and {worth(due)} {LATER}" if due else None, class_="total"),
        tag("p", "Your file: ", name(record["file"] or "none"),
            "; handed in late" if record["late"] else None, class_="quiet"),
    ]  # fmt: skip
    if record["status"] != "graded" or record["message"]:
        heading = STATES.get(record["status"], "About your file")
        parts.append(tag("div", tag("h2", heading), tag("p", name(record["message"])),
                         class_="note"))  # fmt: skip
    if record["questions"]:
        rows = [
            [name(f"{each['name']}: {each['title']}"), _given(each), number(each["possible"])]
            for each in record["questions"]
        ]
        foot = ["Total", number(sums.total), number(sums.possible)]
        head = ["Question", "Points", "Possible"]
        parts.append(table("Points by question", head, rows, numbers=(1, 2), foot=foot))
    if record["status"] != "unreadable":  # else there is nothing to tell about each
        parts += [_question(each, record["answers"]) for each in record["questions"]]
    if record["errors"]:
        rows = [[f"Cell {each['cell']}", block(each["message"])] for each in record["errors"]]
        parts.append(tag("h2", "Cells that stopped with an error"))
        parts.append(table("Counted from the top of your notebook", ["Cell", "Error"], rows))
    return page(f"{title}: feedback for {record['student']}", *parts)


def _question(question: Record, answers: Record) -> Safe:
    """One question's section of a student's page."""
    heading = tag("h2", name(f"{question['name']}: {question['title']}"))
    if question["manual"]:
        given, possible = question["points"], worth(question["possible"])
        score = f"{number(given)} of {possible}" if given is not None else f"{possible}, {LATER}"
        answer = answers.get(question["name"], "")
        shown = block(answer, answer=True) if answer.strip() else tag("p", "No answer.")
        return tag("section", heading, tag("p", score), tag("h3", "Your answer"), shown)
    score = f"{number(question['points'])} of {worth(question['possible'])}"
    public = [test for test in question["tests"] if not test["hidden"]]
    hidden = [test for test in question["tests"] if test["hidden"]]
    parts: list[Child] = [heading, tag("p", score)]
    if public:
        parts.append(tag("h3", "Tests that you can run"))
        parts.append(tag("ul", *map(_test, public), class_="tests"))
    if hidden:
        passed = sum(test["passed"] for test in hidden)
        gained, most = (sum(test[key] for test in hidden) for key in ("points", "possible"))
        told = f"{passed} of {len(hidden)} passed, {number(gained)} of {worth(most)}"
        parts.append(tag("p", f"Hidden tests: {told}."))
    return tag("section", *parts)


def _test(test: Record) -> Safe:
    """One public test: how it went, its name in words, its points, and what went wrong."""
    mark = ("✓ passed", "good") if test["passed"] else ("✗ failed", "bad")
    told = f" ({number(test['points'])} of {worth(test['possible'])})"
    why = block(test["message"]) if test["message"] and not test["passed"] else None
    return tag(
        "li", tag("span", mark[0], class_=mark[1]), " ", name(words(test["name"])), told, why
    )


def written_html(records: Sequence[Record], question: str, rubric: str) -> str:
    """All answers to one written question beside its rubric, those that are the same only once.

    Points go into the table of `vglab.assignments.gradebook.written_csv`, under the key that each
    answer bears.
    """
    asked = [
        (record, each)
        for record in records
        for each in record["questions"]
        if each["name"] == question and each["manual"]
    ]
    if not asked:
        there = {e["name"] for record in records for e in record["questions"] if e["manual"]}
        names = ", ".join(sorted(there)) or "none"
        raise ValueError(f"{question!r} is no written question; there are: {names}")
    answers: dict[str, list[Record]] = {}
    for record, _ in asked:
        answers.setdefault(record["answers"].get(question, "").strip(), []).append(record)
    blank = answers.pop("", [])
    heading = f"{question}: {asked[0][1]['title']} ({worth(asked[0][1]['possible'])})"
    articles = [
        tag("article", tag("h3", _joined([tag("span", name(each["student"]), " ",
            tag("code", name(each["key"])), _graded(each, question)) for each in authors])),
            block(answer, answer=True))
        for answer, authors in answers.items()
    ]  # fmt: skip
    left = tag("p", "No answer: ", _joined([tag("code", name(each["key"])) for each in blank]))
    return page(
        f"{question}: written answers",
        tag("h1", name(heading)),
        tag("p", f"{len(asked) - len(blank)} of {len(asked)} students answered."),
        tag("div", tag("aside", tag("h2", "Rubric"), block(rubric, answer=True)),
            tag("div", tag("h2", "Answers"), *articles, left if blank else None), class_="sides"),
        wide=True,
    )  # fmt: skip


def _joined(parts: Sequence[Safe]) -> list[Child]:
    joined: list[Child] = []
    for part in parts:
        joined += [", ", part] if joined else [part]
    return joined


def _graded(record: Record, question: str) -> str | None:
    given = next(each["points"] for each in record["questions"] if each["name"] == question)
    return None if given is None else f" ({number(given)} given)"


def _given(question: Record) -> str:
    return "not yet graded" if question["points"] is None else number(question["points"])
