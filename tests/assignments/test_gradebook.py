"""Gradebook: what spreadsheets, Canvas and Moodle read in it, and what comes back by hand."""

import csv
import io
import re

import made_records as made
import pandas as pd
import pytest

from vglab.assignments.gradebook import (
    canvas_csv,
    grades_csv,
    moodle_csv,
    points,
    read_written,
    with_written,
    written_csv,
)


def frame(text):
    return pd.read_csv(io.StringIO(text.removeprefix("\ufeff")), dtype=str, keep_default_na=False)


def rows(text):
    return list(csv.reader(io.StringIO(text)))


@pytest.fixture
def roster(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "roster.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_points():
    mixed = [
        made.question("q1", made.test(possible=1.5), made.test(passed=False)),
        made.written("q2", points=None),
        made.written("q3", points=0.5),
    ]
    sums = points(made.record("a", "A", "1", *mixed))
    assert (sums.auto, sums.manual, sums.total, sums.possible) == (1.5, 0.5, 2.0, 6.5)
    assert sums.pending and not points(made.record("a", "A", "1", *mixed[::2])).pending


# for a spreadsheet


def test_grades():
    first = made.record(
        "a", "Zo\u00eb, \"Z\" \u9648", "007", made.question("q1", made.test(possible=1 / 3)),
        made.written("q2", points=1.25), late=True, message="two\nlines",
    )  # fmt: skip
    second = made.record("b", "Bob", "8", made.question("q1", made.test(passed=False)),
                         made.written("q2"), status="stopped")  # fmt: skip
    text = grades_csv([first, second])
    assert text.startswith("\ufeff")
    table = frame(text)
    assert list(table.columns) == [
        "student", "id", "file", "late", "status", "q1", "q2", "auto points", "manual points",
        "total", "possible", "message",
    ]  # fmt: skip
    assert list(table.loc[0]) == ["Zo\u00eb, \"Z\" \u9648", "007", "work.ipynb", "yes", "graded",
                                  "0.33", "1.25", "0.33", "1.25", "1.58", "2.33",
                                  "two\nlines"]  # fmt: skip
    assert list(table.loc[1, ["q1", "q2", "total"]]) == ["0", "", "0"]


def test_excel_reads_it_as_utf_8(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text(grades_csv([made.scored("zo\u00eb", 1.0)]), encoding="utf-8", newline="")
    assert path.read_bytes()[:3] == b"\xef\xbb\xbf"
    assert pd.read_csv(path)["student"][0] == "Zo\u00eb"  # pandas takes the mark away


@pytest.mark.parametrize("text", made.HOSTILE)
def test_no_cell_is_a_formula(text):
    one = made.record(text, text, text, made.question(text, made.test()), made.written("w"),
                      file=text, status=text, message=text, answers={"w": text})  # fmt: skip
    sheets = [grades_csv([one]), written_csv([one]), canvas_csv([one], "HW").text,
              moodle_csv([one], "HW").text]  # fmt: skip
    for sheet in sheets:
        sheet.encode()
        table = rows(sheet.removeprefix("\ufeff"))
        assert len({len(row) for row in table}) == 1
        for cell in (cell for row in table for cell in row if cell != "-"):
            assert not re.match(r"\s*[=+\-@\uff1d]", cell) and not cell.startswith(("\t", "\r"))
            assert not re.search(r"[\x00-\x08\x0b-\x1f]", cell)


def test_without_records():
    assert frame(grades_csv([])).empty
    assert rows(canvas_csv([], "HW").text)[1][0].strip() == "Points Possible"
    assert len(rows(moodle_csv([], "HW").text)) == 1


# Canvas

EXPORT = """\
Student,ID,SIS User ID,SIS Login ID,Section,Earlier (6),Backprop (1) (77),Final Score,Later (78)
,,,,,,Manual Posting,,
    Points Possible,,,,,10.00,4.00,(read only),5.00
"Example, Anna",11,s11,anna,"Monday, early",3.00,,90,
"B\u00f6hm, Bob",12,s12,bob,Tuesday,,,80,1
"Example, Anna",13,s13,anna2,Tuesday,,,70,
"No Work, Nina",14,s14,nina,Tuesday,,,60,
"Excused, Eve",15,s15,eve,Tuesday,,EX,50,
"Elsewhere, Ed",16,s16,ed,Tuesday,,N/A,,
"Had Some, Hal",17,s17,hal,Tuesday,,2.5,,
"Student, Test",18,,x,Tuesday,,,,
"""


def test_canvas_made_anew():
    sheet = canvas_csv([made.scored("anna", 2.5, "11"), made.scored("bob", 4.0)], "HW (7)")
    assert sheet.text.splitlines() == [
        "Student,ID,SIS User ID,SIS Login ID,Section,HW (7)",
        "    Points Possible,,,,,4",
        "Anna,11,,,,2.5",
    ]
    assert sheet.problems == (
        "Bob (bob) fits no row: no grade entered",
        "without a roster only students whose number is known have a row",
    )


@pytest.mark.parametrize("name", ["Backprop (1) (77)", "Backprop (1)", "77"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_canvas_fills_only_its_column(roster, name, encoding, separator):
    before = rows(EXPORT)
    file = io.StringIO()
    csv.writer(file, delimiter=separator).writerows(before)
    graded = [made.scored("anna", 1 / 3, "11"), made.scored("bob", 4.0, "12")]
    sheet = canvas_csv(graded, name, roster(file.getvalue(), encoding))
    assert sheet.problems == ()
    assert not sheet.text.startswith("\ufeff")
    expected = [list(row) for row in before]
    expected[3][6], expected[4][6] = "0.33", "4"
    assert rows(sheet.text) == expected


def test_canvas_by_other_numbers_and_names(roster):
    graded = [
        made.scored("anna", 1.0, "s11"),  # as Gradescope knows her
        made.scored("bob", 2.0),  # his file bears his login
        dict(made.scored("nina", 3.0), student="No Work,  NINA"),
    ]
    sheet = canvas_csv(graded, "77", roster(EXPORT))
    assert sheet.problems == ()
    column = {row[1]: row[6] for row in rows(sheet.text)[3:]}
    assert (column["11"], column["12"], column["14"], column["13"]) == ("1", "2", "3", "")


def test_canvas_never_guesses(roster):
    graded = [
        dict(made.scored("a", 1.0), student="Example, Anna"),  # two of them
        made.scored("b", 1.0, "99"),  # nobody
        dict(made.scored("bob", 1.0, "98"), student="bob"),  # a number that says another thing
        made.scored("paul", 1.0, "s17"),  # another's number
        made.scored("nina", 1.0, "14"),
        made.scored("nina2", 4.0, "14"),  # twice
        made.scored("eve", 1.0, "15"),
        made.scored("ed", 1.0, "16"),
    ]
    sheet = canvas_csv(graded, "77", roster(EXPORT))
    assert rows(sheet.text) == rows(EXPORT)
    assert set(sheet.problems) == {
        "Example, Anna (a) fits 2 rows: no grade entered",
        "B (b) fits no row: no grade entered",
        "bob (bob) fits no row: no grade entered",
        "Paul (paul) has the number of Had Some, Hal: no grade entered",
        "Nina (nina) and Nina2 (nina2) claim one row: no grade entered",
        "Eve (eve) is excused in Canvas: no grade entered",
        "Ed (ed) is not assigned this in Canvas: no grade entered",
    }


def test_canvas_rosters_that_do_not_fit(roster):
    graded = [made.scored("anna", 1.0, "11")]
    with pytest.raises(ValueError, match=r"no assignment is called 'HW'; give one of: 'Earlier"):
        canvas_csv(graded, "HW", roster(EXPORT))
    twice = EXPORT.replace("Later (78)", "Earlier (78)")
    with pytest.raises(ValueError, match=r"several assignments are .*'Earlier \(6\)', 'Earlier"):
        canvas_csv(graded, "Earlier", roster(twice))
    with pytest.raises(ValueError, match=r"Canvas is 5.00, but Later has 4 points"):
        canvas_csv(graded, "Later", roster(EXPORT))
    with pytest.raises(ValueError, match=r"not an export of Canvas's gradebook.*'ID'.*has: a, b"):
        canvas_csv(graded, "HW", roster("a,b\n1,2\n"))
    with pytest.raises(ValueError, match=r"roster\.csv is empty"):
        canvas_csv(graded, "HW", roster("\n"))
    with pytest.raises(ValueError, match=r"roster\.csv is not a table that can be read"):
        canvas_csv(graded, "HW", roster("a,b\n" + "x" * 200_000))
    other = [*graded, made.scored("bob", 1.0, "12", possible=5.0)]
    with pytest.raises(ValueError, match=r"several assignments, with 4, 5 points"):
        canvas_csv(other, "77", roster(EXPORT))


def test_what_is_provisional_is_told(roster):
    graded = made.record("anna", "Anna", "11", made.question("q", made.test()), made.written())
    halted = dict(graded, key="bob", student="Bob", student_id="12", status="stopped")
    for sheet in (canvas_csv([graded, halted], "HW"), moodle_csv([graded, halted], "HW")):
        assert sheet.problems == (
            "2 of 2 submissions have answers that are not graded yet: "
            "what is entered is without them",
            "1 of 2 submissions were not graded to the end: Bob (bob)",
        )


# Moodle

WORKSHEET = """\
Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Grade can be changed",\
"Last modified (submission)","Last modified (grade)","Feedback comments"
"Participant 101","Anna Example",anna@example.org,"Submitted for grading - ",,4.00,Yes,"Monday, \
2 November 2026, 10:00 AM",-,
"Participant 102","Bob B\u00f6hm",bob@example.org,"Submitted - ",,4.00,Yes,-,-,"old, one"
"Participant 103","Anna Example",anna2@example.org,"No submission",,4.00,Yes,-,-,
"Participant 104","Lo Locked",lo@example.org,"Submitted for grading - ",1.00,4.00,No,-,-,
"""


def test_moodle_made_anew():
    sheet = moodle_csv([made.scored("anna", 2.5, "101")], "HW")
    table = frame(sheet.text)
    assert {"Identifier", "Grade", "Last modified (grade)"} <= set(table.columns)
    assert list(table.loc[0, ["Identifier", "Grade", "Maximum Grade"]]) == [
        "Participant 101", "2.5", "4"
    ]  # fmt: skip
    assert sheet.problems == ()


def test_moodle_fills_only_grades(roster):
    graded = [made.scored("anna", 2.5, "101"), dict(made.scored("b", 4.0), student="bob b\u00d6hm")]
    sheet = moodle_csv(graded, "HW", roster(WORKSHEET))
    expected = rows(WORKSHEET)
    expected[1][4], expected[2][4] = "2.5", "4"
    assert rows(sheet.text) == expected and sheet.problems == ()


def test_moodle_marked_blind(roster):
    """Then the worksheet has no names, and the folders are called "Participant_101"."""
    blind = io.StringIO()
    csv.writer(blind).writerows([row[0], *row[3:]] for row in rows(WORKSHEET))
    one = dict(made.scored("a", 2.5, "101"), student="Participant")
    sheet = moodle_csv([one], "HW", roster(blind.getvalue()))
    assert rows(sheet.text)[1][2] == "2.5" and sheet.problems == ()


def test_canvas_as_its_download_writes_names(roster):
    one = dict(made.scored("a", 2.5, "12"), student="b\u00f6hmbob")
    assert rows(canvas_csv([one], "77", roster(EXPORT)).text)[4][6] == "2.5"


def test_moodle_in_another_language_keeps_numbers(roster):
    local = WORKSHEET.replace("Participant ", "Teilnehmer/in")
    sheet = moodle_csv([made.scored("anna", 2.5, "101")], "HW", roster(local))
    assert rows(sheet.text)[1][4] == "2.5"


def test_moodle_never_guesses(roster):
    graded = [
        dict(made.scored("a", 1.0), student="Anna Example"),
        made.scored("nobody", 1.0, "999"),
        made.scored("lo", 4.0, "104"),
    ]
    sheet = moodle_csv(graded, "HW", roster(WORKSHEET))
    assert rows(sheet.text) == rows(WORKSHEET)
    assert set(sheet.problems) == {
        "Anna Example (a) fits 2 rows: no grade entered",
        "Nobody (nobody) fits no row: no grade entered",
        "Lo (lo) is locked in Moodle: no grade entered",
    }


def test_moodle_worksheets_that_do_not_fit(roster):
    graded = [made.scored("anna", 1.0, "101")]
    with pytest.raises(ValueError, match=r"in English: it lacks the column 'Grade'"):
        moodle_csv(graded, "HW", roster(WORKSHEET.replace(",Grade,", ",Bewertung,")))
    with pytest.raises(ValueError, match=r"Moodle is 100,00, but HW has 4 points: set it there"):
        moodle_csv(graded, "HW", roster(WORKSHEET.replace("4.00", '"100,00"')))


# written answers


@pytest.fixture
def answered():
    return [
        made.record(key, key.title(), "", made.question("q1", made.test()), made.written("q5"),
                    made.written("q6", possible=3.0), answers={"q5": f"=because, \"{key}\"\n;"})
        for key in ("anna", "bob")
    ]  # fmt: skip


def test_written_answers_go_and_come_back(answered, tmp_path):
    path = tmp_path / "written.csv"
    table = frame(written_csv(answered))
    assert list(table["key"]) == ["anna", "anna", "bob", "bob"]
    assert table["answer"][0] == '\'=because, "anna"\n;' and table["answer"][1] == ""
    table["points"] = ["1.5", "3", "", "0"]
    table.to_csv(path, index=False)
    given = read_written(path, answered)
    assert given == {"anna": {"q5": 1.5, "q6": 3.0}, "bob": {"q6": 0.0}}
    anna, bob = (with_written(each, given) for each in answered)
    assert points(anna).total == 5.5 and not points(anna).pending
    assert points(bob).total == 1.0 and points(bob).pending
    assert [each["points"] for each in answered[0]["questions"][1:]] == [None, None]
    assert list(frame(written_csv([anna]))["points"]) == ["1.5", "3"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_written_points_from_any_spreadsheet(answered, tmp_path, encoding, separator):
    path = tmp_path / "written.csv"
    table = frame(written_csv(answered))
    table["student"], table["points"] = "Zo\u00eb", ["1,5", "", "", "2,0"]
    path.write_bytes(table.to_csv(index=False, sep=separator).encode(encoding))
    assert read_written(path, answered) == {"anna": {"q5": 1.5}, "bob": {"q6": 2.0}}


def test_written_points_that_cannot_be_used(answered, tmp_path):
    path = tmp_path / "written.csv"
    lines = ["anna,q5,2.5", "anna,q5,-1", "anna,q5,nan", "anna,q5,1e0", "anna,q5,=1", "zoe,q5,1",
             "anna,q1,1", "anna,q6,1", "anna,q6,2", "bob,q5,", "zoe,q5,"]  # fmt: skip
    path.write_text("\n".join(["key,question,points", *lines]))
    with pytest.raises(ValueError) as caught:
        read_written(path, answered)
    assert str(caught.value).splitlines() == [
        "written.csv was not used:",
        *(f"row {i}: points must be from 0 to 2, got '{got}'"
          for i, got in enumerate(["2.5", "-1", "nan", "1e0", "=1"], start=2)),
        "row 7: no submission has the key 'zoe'",
        "row 8: 'q1' is no written question; there are: q5, q6",
        "row 10: anna has other points for q6 further up",
    ]  # fmt: skip
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"not a table of written answers: .*'key'"):
        read_written(path, answered)


def test_a_long_answer_fits_a_cell(answered):
    answered[0]["answers"]["q5"] = "x" * 100_000
    answer = frame(written_csv(answered))["answer"][0]
    assert len(answer) < 32_767 and answer.endswith("(cut)")
