"""Submissions: every layout, and everything that can be wrong with what a class hands in."""

import io
import json
import os
import pickle
import stat
import sys
import warnings
import zipfile

import nbformat
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vglab.assignments import _entries, _layouts
from vglab.assignments.submissions import UnreadableNotebook, find, read_cells

MB = 2**20


def notebook(*sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources or ("x = 1",)]
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells)).encode()


def lay(root, files):
    """Write files, a mapping of paths to bytes, later ones a minute later."""
    for i, (name, content) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1e9 + 60 * i, 1e9 + 60 * i))
    return root


def packed(files, *, mode=None):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, (name, content) in enumerate(files.items()):
            info = zipfile.ZipInfo(name, (2026, 1, 1 + i // 1440, i // 60 % 24, i % 60, 0))
            info.external_attr = (mode or stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return file.getvalue()


ARCHIVE = packed(
    {"anna.ipynb": notebook(), "bob/x.zip": packed({"y.ipynb": notebook()}), "c/": b"",
     "exampleanna_1_2_x.ipynb": b"{}"}
)  # fmt: skip


def state(root):
    """What a folder holds, to see that nothing changed."""
    return {
        path.relative_to(root): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in root.rglob("*")
    }


@pytest.fixture(params=["folder", "zip", "wrapped zip", "wrapped folder"])
def found(request, tmp_path):
    """Find what is in the same files, given in four ways."""

    def look(files):
        kind = request.param
        inner = {f"export/{name}": c for name, c in files.items()} if "wrapped" in kind else files
        if "zip" in kind:
            path = tmp_path / "export.zip"
            path.write_bytes(packed(inner))
        else:
            path = lay(tmp_path / "given", inner)
        before = state(tmp_path)
        submissions = find(path)
        for each in submissions:
            if each.name:
                each.read()
        assert state(tmp_path) == before
        keys = [each.key for each in submissions]
        assert keys == sorted(set(keys))
        return {each.student: each for each in submissions}

    return look


# layouts


def test_canvas(found):
    mine = notebook("second")
    given = found(
        {
            "exampleanna_LATE_12345_67890_assignment.ipynb": notebook("first"),
            "exampleanna_LATE_12345_67999_assignment-1.ipynb": mine,
            "obrienzo\u00eb_77_70001_my_work_3_4_x.ipynb": notebook(),
            "de_la_cruz_88_70002_backpropagation (2).ipynb": notebook(),
            "textonly_99_text.html": b"<p>my answer</p>",
            "linkonly_LATE_98_link.html": b"<p>colab</p>",
            "wordy_97_70003_report.docx": b"PK\x03\x04",
        }
    )
    assert {name: each.student_id for name, each in given.items()} == {
        "exampleanna": "12345", "obrienzo\u00eb": "77", "de_la_cruz": "88",
        "textonly": "99", "linkonly": "98", "wordy": "97",
    }  # fmt: skip
    anna = given["exampleanna"]
    assert anna.read() == mine and anna.late and anna.attempt == 2
    assert anna.name == "assignment-1.ipynb" and "2 notebooks" in anna.problem
    assert given["obrienzo\u00eb"].name == "my_work_3_4_x.ipynb"
    assert given["de_la_cruz"].attempt == 3 and not given["de_la_cruz"].late
    assert given["textonly"].problem == "no file, only text typed into the system"
    assert given["linkonly"].late and not given["linkonly"].name
    assert given["wordy"].problem == "no notebook, only report.docx"
    with pytest.raises(UnreadableNotebook, match="only text typed"):
        given["textonly"].read()


def test_canvas_takes_the_last_upload_whatever_the_clock_says(tmp_path):
    files = {"a_1_900_x-1.ipynb": b"{}", "a_1_899_x.ipynb": b"[]", "b_2_10_x.ipynb": b"{}"}
    assert [each.name for each in find(lay(tmp_path, files))] == ["x-1.ipynb", "x.ipynb"]


def test_canvas_without_names(found):
    files = {f"anon_ab{i}cd_{900 + i}_x.ipynb": notebook() for i in range(3)}
    files["LATE_anon_zzzzz_990_x.ipynb"] = notebook()
    given = found(files)
    assert set(given) == {"anon_ab0cd", "anon_ab1cd", "anon_ab2cd", "anon_zzzzz"}
    assert [each.late for each in given.values()] == [False, False, False, True]


def test_names_with_dates_are_not_canvas(found):
    """Else all would be one student, whose number is the year."""
    files = {f"{who}_2026_11_work.ipynb": notebook() for who in ("anna", "bob", "cleo")}
    assert set(found(files)) == {"anna_2026_11_work", "bob_2026_11_work", "cleo_2026_11_work"}


@pytest.mark.parametrize("end", ["_", ""])
def test_moodle_folders(found, end):
    given = found(
        {
            f"Anna Example_1234567_assignsubmission_file{end}/x.ipynb": notebook("anna"),
            "Anna Example_1234567_assignsubmission_onlinetext_/onlinetext.html": b"<p>",
            f"Jean_Luc P_7_assignsubmission_file{end}/sub/deep/x.ipynb": notebook(),
            "Typed Only_8_assignsubmission_onlinetext_/onlinetext.html": b"<p>",
            f"Anna Example_99_assignsubmission_file{end}/y.ipynb": notebook("another Anna"),
        }
    )
    assert set(given) == {"Anna Example", "Jean_Luc P", "Typed Only"}
    assert given["Anna Example"].problem == "" and given["Jean_Luc P"].student_id == "7"
    assert given["Typed Only"].problem == "no file, only text typed into the system"


def test_moodle_namesakes_differ(tmp_path):
    folder = "Anna Example_{}_assignsubmission_file_/x.ipynb"
    files = {folder.format(number): notebook(str(number)) for number in (1, 2)}
    one, two = find(lay(tmp_path, files))
    assert (one.student, one.student_id) == ("Anna Example", "1") and two.student_id == "2"
    assert (one.key, two.key) == ("Anna-Example-1", "Anna-Example-2")
    assert read_cells(two.read())[0].source == "2"


def test_moodle_flat(found):
    given = found(
        {
            "Anna Example_123_assignsubmission_file_x_1.ipynb": notebook(),
            "Bob B_124_assignsubmission_file_x.pdf": b"%PDF",
            "Bob B_124_assignsubmission_onlinetext_onlinetext.html": b"<p>",
        }
    )
    assert given["Anna Example"].name == "x_1.ipynb"
    assert (
        given["Bob B"].problem == "no notebook, only x.pdf" and given["Bob B"].student_id == "124"
    )


METADATA = r"""---
submission_100:
  :submitters:
  - :name: Anna Example
    :sid: '0042'
    :email: anna@example.org
  :created_at: 2026-11-01 10:00:00.000000000 Z
  :score: 3.0
  :status: processed
  :results:
    tests:
    - name: ":submitters:"
  :history:
  - :name: not a student
    :score: 1.0
submission_200:
  :submitters:
  - :name: "Zo\xEB \u{}"
    :sid: 7
  - :name: 'O''Neill: Pat'
    :sid:
    :email: pat@example.org
submission_300:
  :submitters:
  - :name: Nothing Handed
    :sid: '9'
""".replace(r"\u{}", r"\u00e9")


def test_gradescope(found):
    given = found(
        {
            "submission_metadata.yml": METADATA.encode(),
            "submission_100/x.ipynb": notebook("one"),
            "submission_200/x.ipynb": notebook("two"),
            "submission_400/y.ipynb": notebook("who?"),
        }
    )
    assert set(given) == {"Anna Example", "Zo\u00eb \u00e9", "O'Neill: Pat", "Nothing Handed",
                          "submission_400"}  # fmt: skip
    assert given["Anna Example"].student_id == "0042"
    shared = [given[name].read() for name in ("Zo\u00eb \u00e9", "O'Neill: Pat")]
    assert [read_cells(content)[0].source for content in shared] == ["two", "two"]
    assert given["Nothing Handed"].problem == "nothing was handed in"


def test_gradescope_metadata_reads_as_yaml_does():
    ours = _layouts._submitters(METADATA)
    theirs = {
        folder: [(each[":name"], str(each[":sid"] or "")) for each in entry[":submitters"]]
        for folder, entry in yaml.safe_load(METADATA).items()
    }
    assert ours == theirs


def test_plain_files_and_folders(found):
    given = found(
        {
            "anna.ipynb": notebook("anna"),
            "bob (1).ipynb": notebook("bob"),
            "cleo.ipynb.txt": notebook("cleo"),
            "dan.IPYNB.json": notebook("dan"),
            "eve/work/x.ipynb": notebook("eve"),
            "fay/a.ipynb": notebook("old"),
            "fay/b.ipynb": notebook("new"),
            "gil/report.pdf": b"%PDF",
            "hal.zip": packed({"work/x.ipynb": notebook("hal"), "data.csv": b"1"}),
            "ida/all.zip": packed({"x.py": b"1"}),
            "jon.py": b"x = 1",
            "kim.ipynb": b"",
            "eve/.ipynb_checkpoints/x-checkpoint.ipynb": notebook("no"),
            "__MACOSX/._anna.ipynb": b"no",
            ".DS_Store": b"no",
        }
    )
    assert sorted(given) == ["anna", "bob", "cleo", "dan", "eve", "fay", "gil", "hal", "ida",
                             "jon", "kim"]  # fmt: skip
    for who in ("anna", "bob", "cleo", "dan", "eve", "hal"):
        assert read_cells(given[who].read())[0].source == who
    assert given["anna"].problem == given["bob"].problem == given["eve"].problem == ""
    assert given["bob"].attempt == 2 and given["bob"].name == "bob (1).ipynb"
    assert given["cleo"].problem == "named cleo.ipynb.txt, and taken as a notebook"
    assert read_cells(given["fay"].read())[0].source == "new"
    assert given["fay"].problem == "2 notebooks: a.ipynb, b.ipynb; taken was the last, b.ipynb"
    assert given["gil"].problem == "no notebook, only report.pdf"
    assert given["hal"].problem == "taken out of hal.zip"
    assert given["ida"].problem == "no notebook, only all.zip"
    assert given["jon"].problem == "no notebook, only jon.py"
    assert given["kim"].problem == "kim.ipynb is empty"


def test_an_empty_notebook_gives_way_to_one_with_content(tmp_path):
    lay(tmp_path, {"anna/a.ipynb": notebook(), "anna/b.ipynb": b"", "bob/x.ipynb": notebook()})
    assert find(tmp_path)[0].name == "a.ipynb"


def test_second_downloads_are_not_merged(found):
    """They may be two students whose files had one name."""
    given = found({f"work{end}.ipynb": notebook(end) for end in ("", " (1)", " (2)")})
    assert set(given) == {"work", "work (1)", "work (2)"}
    assert "second copy of work.ipynb" in given["work (1)"].problem


def test_an_empty_folder_is_somebodys(tmp_path):
    lay(tmp_path, {"anna/x.ipynb": notebook(), "cleo/.ipynb_checkpoints/x.ipynb": b"{}"})
    (tmp_path / "bob" / "deep").mkdir(parents=True)
    problems = {each.student: each.problem for each in find(tmp_path)}
    assert problems == {"anna": "", "bob": "the folder deep is empty",
                        "cleo": "the folder cleo is empty"}  # fmt: skip
    archive = tmp_path.with_suffix(".zip")
    archive.write_bytes(packed({"anna/x.ipynb": notebook(), "bob/": b"", "cleo/deep/": b""}))
    assert {each.student: each.problem for each in find(archive)} == {
        "anna": "", "bob": "the folder bob is empty", "cleo": "the folder deep is empty"
    }  # fmt: skip


def test_one_student_alone(tmp_path):
    lay(tmp_path, {"class/anna/x.ipynb": notebook(), "one.ipynb": notebook()})
    assert [each.student for each in find(tmp_path / "class")] == ["anna"]
    assert [each.student for each in find(tmp_path / "one.ipynb")] == ["one"]


def test_nothing_there(tmp_path):
    assert find(tmp_path) == []
    with pytest.raises(FileNotFoundError, match=r"expected a folder or a \.zip"):
        find(tmp_path / "no")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ValueError, match=r"bad\.zip is not a zip archive"):
        find(tmp_path / "bad.zip")


# hostile


@pytest.mark.skipif(not hasattr(os, "symlink") or sys.platform == "win32", reason="needs links")
def test_links_are_not_followed(tmp_path):
    secret = lay(tmp_path / "home", {"secret.ipynb": notebook("secret")})
    given = lay(tmp_path / "given", {"anna/x.ipynb": notebook(), "bob/y.txt": b""})
    (given / "eve.ipynb").symlink_to(secret / "secret.ipynb")
    (given / "bob" / "x.ipynb").symlink_to(secret / "secret.ipynb")
    (given / "mal").symlink_to(secret)
    (given / "loop").mkdir()
    (given / "loop" / "again").symlink_to(given)
    os.mkfifo(given / "pipe.ipynb")
    found = {each.student: each for each in find(given)}
    assert set(found) == {"anna", "bob", "eve", "loop", "mal", "pipe"}
    for who in ("bob", "eve", "loop", "mal"):
        assert "is a link" in found[who].problem
        with pytest.raises(UnreadableNotebook, match="is a link"):
            found[who].read()
    assert found["pipe"].problem == "pipe.ipynb is not an ordinary file"


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_link_put_there_after_the_search_is_not_followed(tmp_path):
    lay(tmp_path, {"given/anna.ipynb": notebook(), "secret.ipynb": notebook("secret")})
    (anna,) = find(tmp_path / "given")
    (tmp_path / "given" / "anna.ipynb").unlink()
    (tmp_path / "given" / "anna.ipynb").symlink_to(tmp_path / "secret.ipynb")
    with pytest.raises(UnreadableNotebook, match="could not be read"):
        anna.read()


@pytest.mark.parametrize("name", ["../../eve.ipynb", "/etc/eve.ipynb", "C:\\eve.ipynb",
                                  "..\\eve.ipynb"])  # fmt: skip
def test_paths_that_lead_out_of_an_archive(tmp_path, name):
    path = tmp_path / "in" / "given.zip"
    path.parent.mkdir()
    path.write_bytes(packed({name: notebook(), "anna.ipynb": notebook()}))
    before = state(tmp_path)
    anna, other = sorted(find(path), key=lambda each: bool(each.problem))
    assert anna.student == "anna" and "leads out of the archive" in other.problem
    assert not {"/", "\\", ":"} & set(other.key) and ".." not in other.key
    assert state(tmp_path) == before


def test_links_in_an_archive(tmp_path):
    path = tmp_path / "given.zip"
    path.write_bytes(packed({"eve.ipynb": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777))
    (eve,) = find(path)
    assert "is a link" in eve.problem


def test_bombs(tmp_path):
    huge = packed({"x.ipynb": b"\0" * (64 * MB)})
    assert len(huge) < MB
    given = {
        "anna.ipynb": notebook(),
        "bomb.zip": huge,
        "many.zip": packed({f"{i}.ipynb": b"" for i in range(_entries.MAX_NESTED + 1)}),
        "nest.zip": packed({"inner.zip": packed({"x.ipynb": notebook()})}),
    }
    with open(tmp_path / "large.ipynb", "wb") as file:
        file.truncate(_entries.MAX_BYTES + 1)
    found = {each.student: each for each in find(lay(tmp_path, given))}
    assert "too large: 64 MB, and 20 MB are allowed" in found["bomb"].problem
    assert "more than 2,000 files" in found["many"].problem
    assert found["nest"].problem == "no notebook, only nest.zip"
    assert "too large: 20 MB" in found["large"].problem
    assert found["anna"].problem == ""


def test_an_archive_that_lies_about_sizes(tmp_path):
    """What is unpacked is bounded by what the list of contents declares, and then found damaged."""
    content = bytearray(packed({"x.ipynb": b"\0" * (64 * MB)}))
    place = content.index(b"PK\x01\x02")
    content[place + 24 : place + 28] = (100).to_bytes(4, "little")
    path = tmp_path / "given.zip"
    path.write_bytes(content)
    (eve,) = find(path)
    with pytest.raises(UnreadableNotebook, match=r"x\.ipynb could not be read: Bad CRC"):
        eve.read()


def test_a_damaged_and_a_locked_member(tmp_path):
    content = bytearray(packed({"x.ipynb": os.urandom(1000)}))
    content[200] ^= 255
    locked = bytearray(packed({"y.ipynb": notebook()}))
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "damaged.zip").write_bytes(content)
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(UnreadableNotebook, match=r"x\.ipynb could not be read"):
        find(tmp_path / "damaged.zip")[0].read()
    assert "password" in find(tmp_path / "locked.zip")[0].problem


def test_a_member_without_a_name(tmp_path):
    """Python's own reader of archives stumbled over it (`ZipInfo.is_dir`, before 3.12)."""
    path = tmp_path / "given.zip"
    path.write_bytes(packed({"anna.ipynb": notebook(), "\0": b"{}"}))
    assert {each.student: each.name for each in find(path)} == {"anna": "anna.ipynb", "unnamed": ""}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6))
def test_a_damaged_archive_is_refused_or_read(tmp_path, changes):
    path, content = tmp_path / "given.zip", bytearray(ARCHIVE)
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    try:
        found = find(path)
    except ValueError as error:
        assert "given.zip is not a zip archive" in str(error)
        return
    for each in found:
        assert each.key.isprintable() and "/" not in each.key
        try:
            read_cells(each.read())
        except UnreadableNotebook as error:
            assert str(error)


def test_files_that_change_after_the_search(tmp_path):
    lay(tmp_path, {"anna.ipynb": notebook(), "bob.ipynb": notebook(), "cleo.ipynb": notebook()})
    anna, bob, cleo = find(tmp_path)
    (tmp_path / "anna.ipynb").unlink()
    (tmp_path / "anna.ipynb").mkdir()
    (tmp_path / "bob.ipynb").unlink()
    with open(tmp_path / "cleo.ipynb", "wb") as file:
        file.truncate(_entries.MAX_BYTES + 1)
    for each, why in ((anna, "could not be read"), (bob, "could not be read"), (cleo, "too large")):
        with pytest.raises(UnreadableNotebook, match=why) as caught:
            each.read()
        assert str(tmp_path) not in str(caught.value)  # students read this


def test_a_folder_that_cannot_be_opened(tmp_path, monkeypatch):
    lay(tmp_path, {"anna/x.ipynb": notebook(), "bob/x.ipynb": notebook()})
    scandir = os.scandir

    def locked(path):
        if os.path.basename(path) == "bob":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    problems = {each.student: each.problem for each in find(tmp_path)}
    assert problems == {
        "anna": "", "bob": "the folder bob could not be opened: Permission denied"
    }  # fmt: skip
    with pytest.raises(PermissionError):
        find(tmp_path / "bob")


def test_folders_within_folders(tmp_path):
    deep = "/".join(["d"] * (_entries.MAX_DEPTH + 1))
    lay(tmp_path, {f"anna/{deep}/x.ipynb": notebook(), "bob.ipynb": notebook()})
    anna, bob = find(tmp_path)
    assert anna.problem and not anna.name and bob.problem == ""


def test_more_files_than_any_class(tmp_path, monkeypatch):
    monkeypatch.setattr(_entries, "MAX_FILES", 2)
    with pytest.raises(ValueError, match="holds 3 files, more than 2"):
        find(lay(tmp_path, {f"{i}.ipynb": b"" for i in range(3)}))


def test_gradescope_metadata_that_cannot_be_read(tmp_path):
    files = {"submission_metadata.yml": b"\xff" * 9, "submission_1/x.ipynb": notebook()}
    assert [each.student for each in find(lay(tmp_path, files))] == ["submission_1"]
    with open(tmp_path / "submission_metadata.yml", "wb") as file:
        file.truncate(_entries.MAX_BYTES + 1)
    assert [each.student for each in find(tmp_path)] == ["submission_1"]
    text = 'submission_1:\n  :submitters:\n  - :name: "a\\qb"\n'
    assert _layouts._submitters(text) == {"submission_1": [("a\\qb", "")]}


HOSTILE = {
    "a\u202egnp.ipynb": "a gnp",
    "b\x1b[31m\x07.ipynb": "b [31m",
    "c" * 240 + ".ipynb": "c" * 119 + "…",
    "d\u200f\u2066 .ipynb": "d",
    "-rf.ipynb": "-rf",
    "=cmd|' !A0'.ipynb": "=cmd|' !A0'",
    "e\nf.ipynb": "e f",
    "con.ipynb": "con",
    "\u0641\u0627\u0637\u0645\u0629.ipynb": "\u0641\u0627\u0637\u0645\u0629",
    "…….ipynb": "……",
}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_no_page_or_file_should_bear(tmp_path):
    given = {name: notebook() for name in HOSTILE}
    found = find(lay(tmp_path / "given", given))
    assert sorted(each.student for each in found) == sorted(HOSTILE.values())
    for each in found:
        assert len(each.key.encode()) < 120 and each.key[0].isalnum()
        assert each.key.isprintable() and not set(each.key) & set('/\\:*?"<>|\n\x1b')
        assert each.key.lower() != "con"
        (tmp_path / f"{each.key}.json").write_text("")
    assert len(list(tmp_path.glob("*.json"))) == len(HOSTILE)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_a_name_that_is_no_text(tmp_path):
    (tmp_path / "given").mkdir()
    with open(os.fsencode(tmp_path / "given") + b"/m\xfcller.ipynb", "wb") as file:
        file.write(notebook())
    (each,) = find(tmp_path / "given")
    json.dumps([each.key, each.student, each.name], ensure_ascii=False).encode()
    assert each.read()


def test_keys_that_would_meet(tmp_path):
    names = ["a b", "a-b", "a?b", "A B", "a  b", "\uff41 b"]
    path = tmp_path / "given.zip"
    path.write_bytes(packed({f"{name}.ipynb": notebook(name) for name in names}))
    found = find(path)
    folded = {each.key.casefold() for each in found}
    assert len(folded) == len(names)
    again = {each.student: each.key for each in find(path)}
    assert again == {each.student: each.key for each in found}


def test_twice_the_same_name_in_an_archive(tmp_path):
    path = tmp_path / "given.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("anna.ipynb", notebook("old"))
        archive.writestr("anna.ipynb", notebook("new"))
    (anna,) = find(path)
    assert "2 notebooks" in anna.problem and read_cells(anna.read())[0].source == "new"


def test_names_that_macos_wrote_into_an_archive(tmp_path):
    """UTF-8 without the flag that says so."""
    content = packed({"Zo\u00eb.ipynb": notebook()})
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        place = content.index(start) + (6 if start[2] == 3 else 8)
        content = content[:place] + b"\0\0" + content[place + 2 :]
    path = tmp_path / "given.zip"
    path.write_bytes(content)
    assert [each.student for each in find(path)] == ["Zo\u00eb"]


def test_a_large_class(tmp_path):
    files = {f"student{i}_{i}_{9000 + i}_x.ipynb": b'{"cells": []}' for i in range(3000)}
    path = tmp_path / "given.zip"
    path.write_bytes(packed(files))
    found = find(path)
    assert len(found) == 3000 and found[0].read() == b'{"cells": []}'


def test_travels_to_another_process(tmp_path):
    path = tmp_path / "given.zip"
    path.write_bytes(
        packed({"a.zip": packed({"x.ipynb": notebook("a")}), "b.ipynb": notebook("b")})
    )
    sources = [read_cells(each.read())[0].source for each in pickle.loads(pickle.dumps(find(path)))]
    assert sources == ["a", "b"]


# cells


def sources(content):
    return [(cell.kind, cell.source) for cell in read_cells(content)]


def test_reads_what_nbformat_reads():
    new = nbformat.v4
    cells = [
        new.new_markdown_cell("# \u00dcber\r\nall"),
        new.new_code_cell("x = 1\ny = 2"),
        new.new_raw_cell("raw"),
        new.new_code_cell(""),
    ]
    whole = new.new_notebook(cells=cells, metadata={"language_info": {"name": "x"}})
    text = nbformat.writes(whole)
    theirs = [(c.cell_type, c.source.replace("\r\n", "\n")) for c in nbformat.reads(text, 4).cells]
    assert sources(text.encode()) == theirs
    bare = {"cells": [{"cell_type": c.cell_type, "source": c.source} for c in cells]}
    assert sources(json.dumps(bare).encode()) == theirs  # nothing but the cells


def test_reads_format_3():
    v3 = nbformat.v3
    cells = [v3.new_code_cell("x = 1"), v3.new_text_cell("markdown", "text"),
             v3.new_heading_cell("Title", level=2)]  # fmt: skip
    old = v3.new_notebook(worksheets=[v3.new_worksheet(cells=cells)])
    text = v3.writes_json(old)
    theirs = [(c.cell_type, c.source) for c in nbformat.reads(text, 4).cells]
    assert sources(text.encode()) == theirs
    assert theirs == [("code", "x = 1"), ("markdown", "text"), ("markdown", "## Title")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be",
                                      "utf-32"])  # fmt: skip
def test_reads_every_encoding(encoding):
    text = json.dumps({"cells": [{"cell_type": "code", "source": "é = '陈'"}]}, ensure_ascii=False)
    assert sources(text.encode(encoding)) == [("code", "é = '陈'")]


def test_reads_what_is_odd_but_clear():
    odd = [
        {"cell_type": "code", "source": ["a\n", "b"], "outputs": 3, "id": None},
        {"cell_type": "code"},
        {"cell_type": "sql", "source": "select"},
        {"source": "no kind"},
        {"cell_type": "markdown", "source": "half \ud83d of a smile"},
    ]
    assert sources(json.dumps({"cells": odd, "nbformat": "x"}).encode()) == [
        ("code", "a\nb"), ("code", ""), ("raw", "select"), ("raw", "no kind"),
        ("markdown", "half ? of a smile"),
    ]  # fmt: skip
    assert sources('{"cells": [{"cell_type": "code", "source": "# é"}]}'.encode("cp1252")) == [
        ("code", "# \ufffd")
    ]


WHOLE = json.dumps({"cells": [{"cell_type": "code", "source": ["x = 1\n", "y"]}] * 3}, indent=1)


@pytest.mark.parametrize("end", range(1, len(WHOLE) - 1))
def test_truncated_anywhere(end):
    """Wherever a file breaks off, its line is told."""
    cut = WHOLE[:end]
    line = len(cut.rstrip().splitlines())
    with pytest.raises(UnreadableNotebook, match=rf"ends in the middle \(line {line}\); download"):
        read_cells(cut.encode())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\0", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"%PDF-1.7 ...", "is a PDF"),
        (b"PK\x03\x04....", "Word file or a zip"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n  <html>", "web page"),
        (pickle.dumps({"cells": []}), "is a pickle"),
        (b"import torch\nx = 1", "is not a notebook"),
        (b'{"error": {"code": 404, "message": "File not found"}}', "server's error message"),
        (b"{}", "has no cells"),
        (b'{"cells": {}}', "has no cells"),
        (b"[1, 2]", "not a notebook"),
        (b'"text"', "not a notebook"),
        (b"12", "not a notebook"),
        (b'{"cells": [3]}', "cell 1 is a number"),
        (b'{"cells": [{"cell_type": "code", "source": [1]}]}', "text of cell 1"),
        (b'{"cells": [{"cell_type": "code", "source": {}}]}', "text of cell 1"),
        (b'{"cells": [],\n"metadata": {,}' + b" " * 9 + b'"nbformat": 4}', "damaged at line 2"),
        (b'{"cells": []}' + b"\n" + b'{"cells": []}', "damaged at line 2"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"cells": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"cells": [' + b"[]," * 1_000_001 + b"[]]}", "more data than can be read"),
        (b'{"cells": [], "n": ' + b"9" * 10_000 + b"}", "number that is too long"),
        (b'{"cells": [' + b"{}," * 6000 + b"{}]}", "6,001 cells"),
        (b" " * (_entries.MAX_BYTES + 1), "20 MB are allowed"),
        (b"\xff\xfe\x00", "empty|not a notebook"),
        (bytes(range(256)), "not a notebook"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unreadable(content, words):
    with pytest.raises(UnreadableNotebook, match=words) as caught:
        read_cells(content)
    message = str(caught.value)
    assert len(message) < 300 and "Traceback" not in message


def test_reading_runs_nothing(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    evil = f"open({str(mark)!r}, 'w')"
    read_cells(notebook(evil, f"!touch {mark}"))
    assert not mark.exists()
