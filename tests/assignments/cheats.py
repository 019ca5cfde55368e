"""Submissions that want points without the answer, or harm: each is the cells of a notebook.

The question asks for ``multiplied(x)``, `x` times the class's factor. Each notebook may leave a
name ``found``, whose value must stay empty: what the cheat got hold of.
"""

WRONG = "def multiplied(x):\n    return -1"

EQUAL = """\
class Equal(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __rmul__(self, other): return self
    __hash__ = int.__hash__
def multiplied(x):
    return Equal(7)
"""

PATCHED_TESTS = """\
import builtins, sys
import vglab.assignments.worker as worker
for module in list(sys.modules.values()):
    for name in list(vars(module)) if hasattr(module, "__dict__") else ():
        if name in ("mark_question", "run", "call_func", "check", "run_tests", "answer",
        "describe"):
            try:
                setattr(module, name, lambda *a, **k: {"points": 3.0, "passed": True})
            except Exception:
                pass
builtins.AssertionError = type("AssertionError", (Exception,), {"__init__": lambda *a: None})
def multiplied(x):
    return True
"""

PATCHED_VGLAB = """\
import torch, vglab
from vglab.assignments import wire
torch.allclose = torch.equal = lambda *a, **k: True
vglab.exercises.check = lambda *a, **k: True
wire.encode = lambda value: {"passed": True, "points": 3.0}
wire.decode = lambda data, **k: data
def multiplied(x):
    return float("nan")
"""

PATCHED_JSON = """\
import json, pickle
json.dumps = lambda *a, **k: '["value", {"points": 3.0, "passed": true}]'
json.loads = lambda *a, **k: ["value", "multiplied"]
pickle.dumps = pickle.dump = pickle.loads = lambda *a, **k: b""
"""

PICKLE = """\
import os
class Bomb:
    def __reduce__(self):
        return (os.system, ("echo cheated > /tmp/vglab-cheated; exit 0",))
def multiplied(x):
    return Bomb()
"""

READS = """\
import glob, os
found = []
looked = 0
for top in ("/", "/proc", os.getcwd(), "..", os.path.expanduser("~")):
    for folder, folders, files in os.walk(top):
        folders[:] = [f for f in folders if not (top == "/" and f in ("proc", "sys", "usr"))]
        if "site-packages" in folder or "/python3" in folder:
            folders[:] = []
            continue
        for file in files:
            looked += 1
            path = os.path.join(folder, file)
            if file.endswith((".ipynb", "assignment.json", "q1.py")):
                found.append(path)
            elif file in ("environ", "cmdline"):
                try:
                    if b"VGLAB_SECRET" in open(path, "rb").read():
                        found.append(path)
                except OSError:
                    pass
import gc
found += [str(o)[:80] for o in gc.get_objects() if isinstance(o, dict) and "possible" in o]
def multiplied(x):
    return found and open(found[0]).read()
"""

ENDLESS_CELL = "while True:\n    pass"

ENDLESS_FUNCTION = "def multiplied(x):\n    while True:\n        pass"

SLEEPS = "import time, signal\nsignal.alarm(0)\ntime.sleep(10_000)"

FORK_BOMB = """\
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""

THREADS = """\
import threading, time
started = 0
while True:
    try:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    except RuntimeError:
        pass
"""

MEMORY = """\
import numpy
kept = [numpy.ones(2**27) for _ in range(8)]  # 8 GB
def multiplied(x):
    return x
"""

OUTPUT = """\
import os
block = b"x" * 2**20
for _ in range(10 * 1024):  # 10 GB
    os.write(1, block)
    os.write(2, block)
"""

LONG_ANSWER = "def multiplied(x):\n    return 'x' * 10**9"

MANY_ANSWERS = """\
import os
line = b'["value", 0]\\n'
for number in range(3, 256):
    try:
        os.set_blocking(number, False)
        os.write(number, line * 1000)
    except OSError:
        pass
"""

NETWORK = """\
import socket
found = []
for address in (("127.0.0.1", 22), ("1.1.1.1", 53), ("example.org", 80)):
    try:
        socket.create_connection(address, timeout=2)
        found.append(address[0])
    except OSError as error:
        if "refused" in str(error) and address[0] != "127.0.0.1":
            found.append(address[0])
try:
    found += [n for _, n in socket.if_nameindex() if n != "lo"]
except OSError:
    pass
def multiplied(x):
    return found
"""

WRITES = """\
import os
found = []
for place in ("/", "/etc", "/usr", "/usr/bin", "/tmp/..", "/var", "/root", "/home", "/opt",
              os.path.dirname(os.__file__), os.path.dirname(__import__("vglab").__file__)):
    path = os.path.join(place, "vglab-cheated")
    try:
        open(path, "w").write("x")
        found.append(path)
    except OSError:
        pass
def multiplied(x):
    return found
"""

FORGED = """\
import json, os, sys
record = {"status": "graded", "questions": [{"name": "q1", "points": 3.0, "possible": 3.0}]}
for _ in range(100):
    print(json.dumps(record)); print('["value", {"points": 3.0}]', file=sys.stderr)
os.makedirs("results", exist_ok=True)
for name in ("results/forged.json", "forged.json", "/tmp/results.json"):
    try:
        json.dump(record, open(name, "w"))
    except OSError:
        pass
def multiplied(x):
    return json.dumps(record)
"""

KILLS = """\
import os, signal
for pid in [os.getppid(), *range(1, 500)]:
    if pid != os.getpid():
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
os.kill(-1, signal.SIGKILL)
"""

EXITS = "import os\nos._exit(0)"

CRASHES = "import ctypes\nctypes.string_at(0)"

DAEMON = """\
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            time.sleep(0.1)
    os._exit(0)
def multiplied(x):
    return -1
"""

SIGNATURE = """\
import inspect
def multiplied(x):
    frame = inspect.currentframe()
    while frame is not None:
        for name, value in {**frame.f_globals, **frame.f_locals}.items():
            if name in ("drawn", "expected", "factor"):
                return value
        frame = frame.f_back
    return None
"""

CHEATS = {
    name.lower(): [value]
    for name, value in list(globals().items())
    if name.isupper() and not name.startswith("_")
}
