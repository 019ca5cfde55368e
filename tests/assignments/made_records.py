"""Records of graded submissions, made up for the tests of what is written from them."""

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE students; --",
    '=HYPERLINK("http://example.org","x")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\r\n=1+1",
    " =1+1",
    "\uff1d1+1",
    "\u202egnp.exe",
    "\u0641\u0627\u0637\u0645\u0629",
    "null\x00bell\x07escape\x1b[31m",
    "half \ud83d",
    'a,b;c\td"e"\nf',
    "]]><!-- -->&amp;",
    "{{ 7 * 7 }} ${7*7} %s {0}",
)


def test(name="test_shape", *, hidden=False, passed=True, possible=1.0, message=""):
    points = possible if passed else 0.0
    return dict(name=name, hidden=hidden, passed=passed, points=points, possible=possible,
                message=message)  # fmt: skip


test.__test__ = False  # not one of pytest's


def question(name="q1", *tests, title="The Jacobian of a layer"):
    return dict(name=name, title=title, manual=False, points=sum(t["points"] for t in tests),
                possible=sum(t["possible"] for t in tests), tests=list(tests))  # fmt: skip


def written(name="q5", *, points=None, possible=2.0, title="Why does it vanish?"):
    return dict(name=name, title=title, manual=True, points=points, possible=possible, tests=[])


def record(key="anna", student="Anna Example", student_id="", *questions, **other):
    made = dict(
        schema=1, assignment="backpropagation", key=key, student=student, student_id=student_id,
        file="work.ipynb", sha256="", late=False, status="graded", message="", seconds=1.0,
        questions=list(questions), errors=[], answers={},
    )  # fmt: skip
    return made | other


def scored(key, points, student_id="", possible=4.0, **other):
    """A record with one question of so many points, and named after its key."""
    tests = [dict(test(possible=possible), points=points, passed=points == possible)]
    made = record(key, key.title(), student_id, question("q1", *tests))
    return made | other
