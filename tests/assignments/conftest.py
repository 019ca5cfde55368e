"""Instructors' tools are an extra: where otter is not installed (Colab), they are not tested."""

import importlib.util

if importlib.util.find_spec("otter") is None:
    collect_ignore_glob = ["test_*.py"]
