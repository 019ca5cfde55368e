"""Hostile processes, in small doses: each kind of isolation that works here must hold them.

What a process may do is asked of the process and of the kernel (`/proc`), never of the sandbox.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import vglab
from vglab.assignments import _inside, sandbox
from vglab.assignments.sandbox import Limits, Sandboxed, Stopped

MB = 2**20
SMALL = Limits(
    wall_seconds=20, cpu_seconds=10, memory_bytes=100 * MB, processes=32, file_bytes=4 * MB,
    disk_bytes=16 * MB, output_bytes=MB,
)  # fmt: skip
PACKAGE = Path(vglab.__file__).parent


def _kinds(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds or sandbox.KINDS, indirect=True)


walled, every = _kinds("bubblewrap", "namespaces"), _kinds()


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    if why := sandbox.problem(request.param):
        pytest.skip(f"{request.param} does not work here: {why}")
    return str(request.param)


@pytest.fixture
def token() -> Iterator[str]:
    """A word on the command line of all that a test starts; none of it may live after the test."""
    word = f"token-{uuid.uuid4().hex}"
    yield word
    assert _alive(word) == []


def _alive(word: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _run(
    kind: str, code: str, token: str = "", *, limits: Limits = SMALL, **options: object
) -> tuple[list[str], str]:
    """Run code to its end; give the lines it printed and why it ended."""
    command = [sys.executable, "-c", f"# {token}\n{textwrap.dedent(code)}"]
    lines = []
    with (
        Sandboxed(command, kind=kind, limits=limits, **options) as box,
        pytest.raises(Stopped) as e,
    ):
        while True:
            lines.append(box.receive(30, MB).decode())
    if e.value.reason == "ended with status 1":
        lines.append(box.errors.strip().splitlines()[-1])
    return lines, e.value.reason


@every
def test_answers_line_by_line_and_tells_its_end(kind: str, token: str) -> None:
    code = """
        import sys
        for line in sys.stdin:
            print(line.strip()[::-1], open("data/one.txt").read(), flush=True)
            if line == "end\\n": sys.exit(3)
    """
    command = [sys.executable, "-c", f"# {token}\n{textwrap.dedent(code)}"]
    with Sandboxed(command, kind=kind, files={"data/one.txt": b"\xc2\xbd"}, limits=SMALL) as box:
        box.send(b"abc")
        assert box.receive(30, 100) == "cba ½".encode()
        box.send(b"end\n")
        assert box.receive(30, 100) == "dne ½".encode()
        assert box.reason is None or box.reason == "ended with status 3"
        for _ in range(2):
            with pytest.raises(Stopped, match=r"^ended with status 3$"):
                box.receive(30, 100)
    assert box.reason == "ended with status 3"


@every
def test_is_nobody(kind: str) -> None:
    code = """
        import ctypes, json, os, resource
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        limit = lambda name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))
        print(json.dumps([os.getuid(), os.environ.get("HOME") == os.getcwd(), status["CapEff"],
            status["CapBnd"], status["NoNewPrivs"], status["Seccomp"],
            [limit(name) for name in ("FSIZE", "CORE", "CPU", "DATA")], len(os.listdir("/proc/self/fd"))]))
    """  # noqa: E501
    lines, _ = _run(kind, code)
    uid, home, effective, bounding, no_new, seccomp, limits, fds = json.loads(lines[0])
    assert uid != 0 and home and int(effective, 16) == 0
    assert int(bounding, 16) == 0 or kind == "none"
    assert no_new.strip() == "1" and seccomp.strip() == "2"
    assert [soft for soft, hard in limits if soft == hard] == [4 * MB, 0, 11, (100 + 1024) * MB]
    assert fds == 4  # the three standard ones, and the one that lists


@every
def test_environment_holds_nothing_of_the_graders(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_CLASS", "open sesame")
    code = """
        import glob, os
        print("open sesame" in os.environ.values(), os.environ.get("OMP_NUM_THREADS"))
        seen = 0
        for path in glob.glob("/proc/*/environ"):
            try: seen += b"sesame" in open(path, "rb").read()
            except OSError: pass
        print(seen)
    """
    lines, _ = _run(kind, code)
    assert lines[0] == "False 1"
    assert kind == "none" or lines[1] == "0"


@walled
def test_sees_nothing_of_the_instructors(kind: str, tmp_path: Path) -> None:
    other = tmp_path / "other.ipynb"
    other.write_text("another student's")
    given = tmp_path / "given.csv"
    given.write_text("1,2")
    hidden = [Path(__file__).parent, Path(__file__), other, Path.home() / ".bashrc",
              Path.home() / ".cache", PACKAGE.parent / "pyproject.toml",
              PACKAGE.parent / "assignments", Path("/etc/shadow"), Path("/etc/hostname"),
              Path("/sys/class"), Path("/home"), Path(f"/proc/{os.getpid()}/cmdline"),
              Path("/proc/1/root/etc"), Path("/var/log"), Path("/run"),
              Path("/dev/kmsg")]  # fmt: skip
    code = f"""
        import os
        for path in {[str(path) for path in hidden]}:
            try: print(path, os.listdir(path) if os.path.isdir(path) else open(path).read()[:99])
            except OSError: pass
        print(open({str(given)!r}).read(), os.listdir({str(tmp_path)!r}), vars().get("other"))
        import importlib.util
        print(importlib.util.find_spec("vglab").origin, importlib.util.find_spec("torch") is None)
    """
    lines, _ = _run(kind, code, visible=[given])
    assert lines == ["1,2 ['given.csv'] None", f"{PACKAGE / '__init__.py'} False"]


@walled
def test_writes_nowhere_but_in_its_memory(kind: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    places = ["/", "/usr", "/etc", "/dev", "/proc", "/root", "/home", "/var/tmp", "/run", "/mnt",
              sys.prefix, str(PACKAGE), str(PACKAGE.parent), str(tmp_path)]  # fmt: skip
    code = f"""
        import os
        for place in {places}:
            try: open(os.path.join(place, "stolen"), "w"); print("wrote", place)
            except OSError: pass
        for place in ("/tmp", "/dev/shm", "."):
            open(os.path.join(place, "mine"), "w"); print("wrote", place)
    """
    lines, _ = _run(kind, code, visible=[tmp_path])
    assert lines == ["wrote /tmp", "wrote /dev/shm", "wrote ."]
    assert not Path("/tmp/mine").exists() and list(tmp_path.iterdir()) == []


@every
def test_reaches_no_network(kind: str) -> None:
    name = f"\0vglab-test-{uuid.uuid4()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(name)
        local.listen()
        code = f"""
            import socket
            here = [(2, {server.getsockname()}), (1, {name!r})]
            for family, address in [*here, (2, ("192.0.2.1", 80))]:
                try:
                    one = socket.socket(family); one.settimeout(1); one.connect(address)
                except OSError: continue
                print(family)
        """
        outside = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=True
        )
        assert outside.stdout.split() == [b"2", b"1"]  # the walls and nothing else must stop it
        assert _run(kind, code) == ([], "ended with status 0")
        names = "import os; print(*os.listdir('/proc/self/net/dev_snmp6'))"
        if kind != "none":
            assert _run(kind, names)[0] == ["lo"]


@every
def test_endless_loop(kind: str, token: str) -> None:
    limits = Limits(wall_seconds=1.0, memory_bytes=100 * MB)
    start = time.monotonic()
    assert _run(kind, "while True: pass", token, limits=limits)[1] == "more than 1 s"
    assert time.monotonic() - start < 10
    both = "import os; os.fork(); os.fork()\nwhile True: pass"
    limits = Limits(wall_seconds=60, cpu_seconds=1)
    assert _run(kind, both, token, limits=limits)[1] == "more than 1 s of processor time"


@every
@pytest.mark.parametrize(
    "command",
    [[sys.executable, "-c", "import os\nwhile True:\n try: os.fork()\n except OSError: pass\n#"],
     ["/bin/sh", "-c", "f() { f | f & }; f; sleep 60; #"]],
    ids=["python", "shell"],
)  # fmt: skip
def test_fork_bomb(kind: str, token: str, command: list[str]) -> None:
    most = 0
    limits = Limits(wall_seconds=2, processes=32, memory_bytes=100 * MB)
    with Sandboxed([*command[:-1], command[-1] + token], kind=kind, limits=limits) as box:
        while box.reason is None:
            most = max(most, len(_alive(token)))
            time.sleep(0.1)
    assert most <= 32 + 8  # with the wall's own, which carry the command on theirs
    assert box.reason


@every
def test_memory_of_one_process(kind: str, token: str) -> None:
    lines, reason = _run(kind, f"x = bytearray({8 * 2**30})", token)
    assert lines == ["MemoryError"] and reason == "ended with status 1"


@every
@pytest.mark.parametrize(
    "code",
    ["""
     import os, time
     for i in range(15):
         if os.fork() == 0: break
     x = bytearray(b"1") * (64 * 2**20)
     time.sleep(30)
     """,
     """
     import mmap, time
     x = mmap.mmap(-1, 4 * 2**30)
     for start in range(0, len(x), 4096): x[start] = 1
     time.sleep(30)
     """],
    ids=["spread over 16", "shared"],
)  # fmt: skip
def test_memory_of_all(kind: str, token: str, code: str) -> None:
    assert _run(kind, code, token) == ([], "more than 100 MB of memory")


@every
def test_memory_that_nobody_would_count_is_refused(kind: str) -> None:
    code = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.shmget(0, 4096, 0o1600), libc.msgget(0, 0o1600), libc.semget(0, 1, 0o1600))
        os.memfd_create("x")
    """
    lines, _ = _run(kind, code)
    assert lines[0] == "-1 -1 -1" and lines[1].startswith("PermissionError")


@every
@pytest.mark.parametrize("stream", ["stderr", "stdout", "stdout, lines"])
def test_output_without_end(kind: str, token: str, stream: str) -> None:
    name, line = stream[:6], r"\n" if "lines" in stream else ""
    code = f"# {token}\nimport sys\nwhile True: sys.{name}.write('x' * 100_000 + '{line}')"
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    with Sandboxed([sys.executable, "-c", code], kind=kind, limits=SMALL) as box:
        with pytest.raises(Stopped) as e:
            while name == "stderr":
                box.receive(30, MB)
            if line:
                time.sleep(0.5)
                while True:
                    box.send(b"x" * 100_000)
            box.receive(30, MB)
        assert len(box.errors) <= 4096
    expected = {"stderr": "more than 1 MB printed", "stdout": "an answer of more than 1 MB",
                "stdout, lines": "more than 1 MB answered unasked"}  # fmt: skip
    assert e.value.reason == expected[stream]
    assert _peak() - before < 16 * MB


def _peak() -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


@every
def test_large_file(kind: str) -> None:
    code = """
        import os
        for size in (10 * 2**30, 5 * 2**20):
            try: os.truncate(os.open("sparse", os.O_CREAT | os.O_RDWR), size)
            except OSError as error: print(error.strerror)
        with open("full", "wb", buffering=0) as file:
            for _ in range(10_000): file.write(bytes(2**20))
    """
    lines, _ = _run(kind, code)
    assert lines == ["File too large", "File too large", "OSError: [Errno 27] File too large"]


@every
def test_many_files(kind: str) -> None:
    full = """
        import time
        for i in range(100): open(f"{i}", "wb").write(bytes(2**20))
        time.sleep(30)
    """
    lines, reason = _run(kind, full)
    no_space = "OSError: [Errno 28] No space left on device"
    assert lines == [no_space] or reason == "more than 16 MB of files"
    empty = """
        import time
        for i in range(50_000): open(f"{i}", "wb").close()
        time.sleep(30)
    """
    lines, reason = _run(kind, empty)
    assert (lines and lines[0].startswith(no_space)) or reason == "more than 20000 files"


@every
def test_nothing_outlives_it(kind: str, token: str) -> None:
    code = f"""
        import os, signal, time
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            if os.fork() == 0:
                for fd in range(3): os.close(fd)
                os.execve("/bin/sh", ["sh", "-c", "sleep 300; # {token}"], {{}})
            os._exit(0)
        time.sleep(0.5)
        print("ready")
    """
    assert _run(kind, code)[0] == ["ready"]
    assert _alive(token) == []


@every
def test_an_exception_of_the_graders_ends_it(kind: str, token: str) -> None:
    code = f"# {token}\nimport os, time; os.makedirs('a/b'); os.chmod('a', 0); print(1, flush=True)"
    with (
        pytest.raises(ZeroDivisionError),
        Sandboxed([sys.executable, "-c", f"{code}; time.sleep(300)"], kind=kind) as box,
    ):
        box.receive(30, 100)
        home = Path(box._started.home)
        raise ZeroDivisionError
    assert _alive(token) == [] and not home.exists()


@every
def test_a_killed_grader_takes_it_along(kind: str, token: str) -> None:
    inside = "import os, time; os.fork(); print(1, flush=True); time.sleep(300)"
    grader = f"""
        import sys, time
        from vglab.assignments.sandbox import Sandboxed
        code = "{inside} # " + sys.stdin.readline()
        with Sandboxed([sys.executable, "-c", code], kind={kind!r}) as box:
            box.receive(30, 100); print(box._started.home, flush=True); time.sleep(300)
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(grader)], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(token + "\n")
        process.stdin.flush()
        home = Path(process.stdout.readline().strip())
        assert _alive(token)
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 10
    while (_alive(token) or home.exists()) and time.monotonic() < until:
        time.sleep(0.02)
    assert _alive(token) == [] and home.is_absolute() and not home.exists()


@every
def test_cannot_build_walls_of_its_own_or_look_into_others(kind: str) -> None:
    code = """
        import ctypes, subprocess
        libc = ctypes.CDLL(None, use_errno=True)
        for flag in (0x10000000, 0x20000, 0x40000000): print(libc.unshare(flag))
        print(libc.mount(b"x", b"/tmp", b"tmpfs", 0, b""), libc.ptrace(16, 1, 0, 0))
        print(libc.umount2(b"/tmp", 2), libc.chroot(b"/tmp"), libc.syscall(250, 1, 0))
        for tool in ("unshare -Ur true", "mount -t tmpfs x /tmp", "bwrap --bind / / true",
                     "nsenter -t 1 -m true", "unshare -Ur unshare -m true"):
            print(subprocess.run(tool, shell=True, stderr=subprocess.DEVNULL).returncode != 0)
        if walled:
            open("/proc/1/mem", "r+b")
    """
    lines, _ = _run(kind, f"walled = {kind != 'none'}\n" + textwrap.dedent(code))
    assert lines[:10] == ["-1"] * 3 + ["-1 -1", "-1 -1 -1"] + ["True"] * 5
    denied = "PermissionError: [Errno 13] Permission denied: '/proc/1/mem'"
    assert lines[10:] == ([denied] if kind != "none" else [])


@walled
def test_leaves_no_mounts(kind: str) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    _run(kind, "open('x', 'w').write('x')")
    assert Path("/proc/self/mountinfo").read_text() == before


@every
@pytest.mark.parametrize("code", ["pass", "os.close(1)"], ids=["silent", "closed"])
def test_does_not_wait_for_ever(kind: str, token: str, code: str) -> None:
    silent = [sys.executable, "-c", f"import os, time; {code}; time.sleep(60)  # {token}"]
    with Sandboxed(silent, kind=kind) as box, pytest.raises(Stopped) as e:
        box.receive(1, 100)
    assert e.value.reason in ("no answer within 1 s", "closed its channel")


@every
def test_a_crash_is_told_by_its_signal(kind: str) -> None:
    assert _run(kind, "import os; os.kill(os.getpid(), 11)")[1] == "ended by SIGSEGV"


def test_refuses_names_that_lead_out_and_unknown_kinds() -> None:
    for name in ("/etc/passwd", "../x", "a/../../x", ""):
        with pytest.raises(ValueError, match="must lead into"):
            Sandboxed(["/bin/true"], files={name: b""}, kind="none")
    with pytest.raises(ValueError, match="bubblewrap, namespaces, none"):
        Sandboxed(["/bin/true"], kind="docker")


def test_refuses_to_run_unprotected_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "available", lambda: None)
    with pytest.raises(sandbox.Unavailable, match=r"Install bubblewrap.*--trusted"):
        Sandboxed(["/bin/true"])


def _filtered(machine: str, architecture: int, number: int, argument: int = 0) -> int:
    """What the kernel would answer: an interpreter of the filter's five operations."""
    data = {0: number, 4: architecture, 16: argument}
    steps = _inside.program(machine, [1, 2, 10])
    value, at = 0, 0
    while True:
        operation, yes, no, operand = steps[at]
        at += 1
        if operation == 0x06:
            return operand
        if operation == 0x20:
            value = data[operand]
        else:
            holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}
            at += yes if holds[operation] else no


@pytest.mark.parametrize(
    ("machine", "architecture", "read", "unshare", "clone", "clone3", "make_socket"),
    [("x86_64", 0xC000003E, 0, 272, 56, 435, 41), ("aarch64", 0xC00000B7, 63, 97, 220, 435, 198)],
)
def test_filter_of_system_calls(
    machine: str, architecture: int, read: int, unshare: int, clone: int, clone3: int,
    make_socket: int,
) -> None:  # fmt: skip
    allow, error, kill = 0x7FFF0000, 0x00050000, 0x80000000
    assert _filtered(machine, architecture, read) == allow
    assert _filtered(machine, architecture, unshare) == error + 1
    assert _filtered(machine, architecture, clone3) == error + 38
    assert _filtered(machine, architecture, clone, 0x01200011) == allow  # fork
    assert _filtered(machine, architecture, clone, 0x10000011) == error + 1  # a new user namespace
    assert [_filtered(machine, architecture, make_socket, family) for family in (1, 2, 10)] == [
        allow
    ] * 3
    for family in (16, 17, 38, 40):  # netlink, packet, alg, vsock
        assert _filtered(machine, architecture, make_socket, family) == error + 97
    assert _filtered(machine, 0x40000003, read) == kill  # i386 has other numbers
    assert _filtered(machine, architecture, 0x40000000 + read) == kill  # and so has x32
