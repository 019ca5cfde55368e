"""Runs `another_device.py` in a process of its own.

torch counts its devices at the first backward pass, so that a device of one's own must be there
before; and no other test should meet it.
"""

import os
import subprocess
import sys
from pathlib import Path


def test_on_another_device():
    checks = Path(__file__).with_name("another_device.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    kept = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    done = subprocess.run([*command, checks], capture_output=True, text=True, env=kept)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
