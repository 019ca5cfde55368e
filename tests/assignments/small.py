"""A small master, for the tests of what is done with masters."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = """\
---
kernelspec: {display_name: Python 3, language: python, name: python3}
vglab: {chapter: gradients/backpropagation, minutes: 5}
---

# Assignment: doubling

```{code-cell}
{{ setup }}
```

```{code-cell}
## Ignore ##
# VARIANT
factor = random.randrange(2, 10**6)
```

```{code-cell}
from vglab import exercises
```

```otter
# BEGIN QUESTION
name: q1
points: [1, 2]
```

## Question 1: multiply

Return `x` times {{ factor }}.

```otter
# BEGIN SOLUTION
```

```{code-cell}
def multiplied(x):
    # BEGIN SOLUTION
    private = x * {{ factor }}
    return private
    # END SOLUTION
```

```otter
# END SOLUTION
```

```{code-cell}
## Ignore ##
# MUTANT (keeps 1): leaves it as it is
def multiplied(x):
    return 1 * x
```

```otter
# BEGIN TESTS
```

```{code-cell}
def test_one(multiplied):
    assert multiplied(1) == {{ factor }}, "one becomes the factor"
```

```{code-cell}
# HIDDEN
def test_fresh_inputs(multiplied):
    import random

    drawn = random.Random({{ fresh() }}).randrange(1, 10**6)
    assert multiplied(drawn) == drawn * {{ factor }}
```

```otter
# END TESTS
# END QUESTION
```

```otter
# BEGIN QUESTION
name: q2
manual: true
points: 2
```

## Question 2: say why

In your own words.

```otter
# BEGIN SOLUTION
```

Rubric: this.
One point for each reason
that was given.

```otter
# END SOLUTION
# END QUESTION
```
"""


def clone(folder: Path, text: str = SMALL) -> Path:
    """A master in a folder that looks like a clone of the course."""
    chapter = folder / "book/gradients/backpropagation.ipynb"
    chapter.parent.mkdir(parents=True)
    chapter.write_bytes((ROOT / "book/gradients/backpropagation.ipynb").read_bytes())
    path = folder / "assignments" / "small.md"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return path
