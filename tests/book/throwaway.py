"""The text of a throw-away book, and the book's tools, which are scripts, on the path."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book" / "_tools")]

import notebooks  # noqa: E402, F401
import twins  # noqa: E402

ADDRESS = "https://example.org/someone/book"
TWIN = (
    twins.HEADER
    + """
# A chapter

```{code-cell}
{{ setup }}
```

Text with $x$.

```{code-cell}
print("a number: 3")
```

```{code-cell}
---
mystnb:
  image:
    alt: A line that falls.
tags: [cover]
---
import matplotlib.pyplot as plt

_ = plt.plot([2, 1])
```

```{code-cell}
from vglab.claims import claim

claim("one is one", 1.0, 1.0)
```
"""
)
NAME = "part/chapter"
