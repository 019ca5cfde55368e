"""The instructor's page about one assignment: totals, questions, and who needs attention."""

from collections import Counter
from collections.abc import Sequence
from statistics import mean, median, quantiles
from urllib.parse import quote

from vglab import plot
from vglab.assignments._html import Child, Safe, name, page, table, tag
from vglab.assignments._tables import Record, number, words, worth
from vglab.assignments.gradebook import points

SHARES = ("none", "≤ 25%", "≤ 50%", "≤ 75%", "< 100%", "full")


def summary_html(records: Sequence[Record], *, title: str, pages: str = "feedback/") -> str:
    """The instructor's page: how the class did, by total and by question, and who needs attention.

    Parameters
    ----------
    records
        One for each submission.
    title
        The assignment's title.
    pages
        Where the students' pages lie, seen from this one: their names are the keys.
    """
    graded = [record for record in records if record["status"] == "graded"]
    states = Counter(record["status"] for record in records)
    told = [f"{states[state]} {state}" for state in ("graded", "stopped", "unreadable")]
    late = sum(bool(record["late"]) for record in records)
    due = sum(points(record).pending for record in records)
    parts: list[Child] = [
        tag("p", title, class_="quiet"),
        tag("h1", "Summary"),
        tag("p", f"{len(records)} submissions: {', '.join(told)}. {late} handed in late."),
        tag("p", f"{due} have answers to grade by hand, and totals without them.") if due else None,
    ]  # fmt: skip
    parts += [_attention(records, pages)]
    if graded:
        parts += [*_totals(graded), *_by_question(graded)]
    rows = [
        [_link(each, pages), name(each["student_id"]), each["status"], number(points(each).total)]
        for each in sorted(records, key=lambda each: (each["student"].casefold(), each["key"]))
    ]
    parts.append(tag("h2", "All submissions"))
    caption = f"Points of {number(_most(records))}"
    parts.append(table(caption, ["Student", "Number", "Status", "Points"], rows, numbers=(3,)))
    return page(f"{title}: summary", *parts)


def _attention(records: Sequence[Record], pages: str) -> Safe:
    """Whose submission the instructor should look at, and why."""
    rows: list[tuple[int, Safe, Safe]] = []
    for record in records:
        raised, message = len(record["errors"]), record["message"]
        if record["status"] != "graded":
            told = (
                message
                if message.startswith(record["status"])
                else f"{record['status']}: {message}"
            )
            rows.append((0, _link(record, pages), name(told)))
        elif message or raised:
            cells = (
                f"{raised} {'cell' if raised == 1 else 'cells'} raised an error" if raised else ""
            )
            told = "; ".join(filter(None, (message, cells)))
            rows.append((1 if message else 2, _link(record, pages), name(told)))
    if not rows:
        return tag("p", "Nobody needs attention: every notebook ran to its end.")
    told_rows = [row[1:] for row in sorted(rows, key=lambda row: row[0])]
    caption = f"{len(rows)} of {len(records)} submissions"
    return tag(
        "section", tag("h2", "Who needs attention"), table(caption, ["Student", "Why"], told_rows)
    )


def _totals(graded: Sequence[Record]) -> list[Child]:
    """The distribution of the totals, in tenths of what is possible."""
    totals, most = [points(record).total for record in graded], _most(graded)
    tenths = Counter(min(int(10 * total / most), 9) if most else 0 for total in totals)
    widest = max(tenths.values())
    rows = [
        [f"{10 * i} to {10 * (i + 1)}%", str(tenths[i]), tag("span", class_="bar",
            style=f"width: {100 * tenths[i] / widest:.0f}%") if tenths[i] else None]
        for i in range(10)
    ]  # fmt: skip
    lower, _, upper = quantiles(totals, method="inclusive") if len(totals) > 1 else totals * 3
    figures = {"mean": mean(totals), "median": median(totals), "lowest": min(totals),
               "lower quarter": lower, "upper quarter": upper, "highest": max(totals)}  # fmt: skip
    told = ", ".join(f"{what} {number(value)}" for what, value in figures.items())
    caption = f"Graded submissions by their part of {worth(most)}"
    head = ["Part", "Submissions", "As a bar"]
    return [
        tag("h2", "Totals"),
        tag("p", f"{told}, of {worth(most)}."),
        table(caption, head, rows, numbers=(1,)),
    ]


def _by_question(graded: Sequence[Record]) -> list[Child]:
    """Scores by question: a figure, and a table with the test that failed most often."""
    questions = {each["name"]: each for record in graded for each in record["questions"]}
    given: dict[str, list[float]] = {question: [] for question in questions}
    failed: dict[str, Counter[str]] = {question: Counter() for question in questions}
    for record in graded:
        for each in record["questions"]:
            if each["points"] is not None:
                given[each["name"]].append(each["points"])
            failed[each["name"]].update(t["name"] for t in each["tests"] if not t["passed"])
    rows: list[list[Child]] = []
    shares: dict[str, list[float]] = {}
    for question, values in given.items():
        possible = questions[question]["possible"]
        label, most = name(f"{question}: {questions[question]['title']}"), number(possible)
        if not values:
            rows.append([label, most, "not graded", "", "", ""])
            continue
        shares[question] = [value / possible if possible else 1.0 for value in values]
        full = mean(share > 1 - 1e-9 for share in shares[question])
        worst = failed[question].most_common(1)
        test = name(f"{words(worst[0][0])} ({worst[0][1]})") if worst else "none"
        rows.append(
            [label, most, number(mean(values)), number(median(values)), f"{full:.0%}", test]
        )
    head = ["Question", "Possible", "Mean", "Median", "Full points", "Fails most often"]
    caption = f"Questions, over {len(graded)} graded submissions"
    return [
        tag("h2", "Questions"),
        _figure(shares) if shares else None,
        table(caption, head, rows, numbers=(1, 2, 3, 4)),
    ]


def _figure(shares: dict[str, list[float]]) -> Safe:
    """How many students have which part of each question's points."""
    counts = [[0] * len(SHARES) for _ in shares]
    for row, values in zip(counts, shares.values(), strict=True):
        for value in values:
            row[_share(value)] += 1
    means = {question: mean(values) for question, values in shares.items()}
    worst = min(means, key=lambda question: means[question])
    finding = f"Hardest was {worst}: {means[worst]:.0%} of its points on average"
    ax = plot.heatmap(
        counts, rows=list(shares), columns=SHARES, text="{:.0f}", title=finding,
        xlabel="part of the question's points", ylabel="question",
    )  # fmt: skip
    alt = f"{finding}. Number of students by question and part of its points, as in the table."
    return tag("div", Safe(plot.svg(ax, alt=alt)), class_="scroll")


def _share(value: float) -> int:
    """The column of ``SHARES`` that a part of the points belongs to."""
    limits = (1e-9, 0.25, 0.5, 0.75, 1 - 1e-9)
    return sum(value > limit for limit in limits)


def _most(records: Sequence[Record]) -> float:
    return max((points(record).possible for record in records), default=0.0)


def _link(record: Record, pages: str) -> Safe:
    return tag(
        "a",
        name(record["student"]),
        href=f"{pages}{quote(record['key'], safe='', errors='replace')}.html",
    )
