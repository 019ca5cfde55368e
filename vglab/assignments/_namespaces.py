"""How a sandbox's processes are walled in: what they see, and the command that builds the wall."""

import os
import random
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vglab.assignments import _processes

HOME = "/tmp/student"
USER = 1000  # who a submission is inside, where the grader is an ordinary user
UIDS = range(60706, 61184)  # a range that neither distributions nor systemd give to anybody
SHARED = 64 * 2**20  # bytes of /dev/shm under bubblewrap; elsewhere it is /tmp
INODES = 20_000
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
INSIDE = Path(__file__).with_name("_inside.py")

# The mounts, made by the namespace's first process, which then waits for the command and ends with
# it: nothing outlives it. The new root takes /tmp's place, pivot_root gives the old /tmp back.
SCRIPT = """\
set -eu
size=$1 inodes=$2
shift 2
mount -t tmpfs -o size=4m,nr_inodes=4096,mode=755,nosuid,nodev root /tmp
cd /tmp
mkdir old proc dev tmp etc
for name in passwd group hosts; do printf %s "$1" > etc/$name; shift; done
place() {  # bind $1 to $3 below the folder $2
    if [ -d "$1" ]; then mkdir -p "$2$3"; else mkdir -p "$2${3%/*}"; : > "$2$3"; fi
    mount --rbind "$1" "$2$3"
}
while [ "$1" != -- ]; do  # the system's folders, which the commands below need
    if [ -L "$1" ]; then ln -s "$(readlink "$1")" ".$1"; else place "$1" . "$1"; fi
    shift
done
shift
pivot_root . old
cd /
mount -t tmpfs -o "size=$size,nr_inodes=$inodes,mode=1777,nosuid,nodev" private /tmp
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t tmpfs -o size=64k,nr_inodes=64,mode=755,nosuid devices /dev
for name in null zero full random urandom tty; do place /old/dev/$name "" /dev/$name; done
mkdir /dev/pts
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,nosuid,noexec devpts /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /tmp /dev/shm
ln -s /proc/self/fd /dev/fd
for name in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${name%:*}" "/dev/${name#*:}"; done
while [ "$1" != -- ]; do  # pairs: where it is, where it shall be seen
    place "/old$1" "" "$2"
    shift 2
done
shift
umount -n -l /old
rmdir /old
{ echo sandbox > /proc/sys/kernel/hostname; } 2> /dev/null || true
while read -r _ _ _ _ where _; do
    where=$(printf %b "$where")
    case "$where" in
        /tmp | /proc | /proc/* | /dev/*) ;;
        /dev) mount -n -o remount,bind,ro,nosuid /dev ;;
        *) mount -n -o remount,bind,ro,nosuid,nodev "$where" 2> /dev/null ||
            mount -n -o remount,bind,ro,nosuid,nodev,noexec "$where" ;;
    esac
done < /proc/self/mountinfo
"$@" || exit $?
exit 0
"""

# Before it: die with the grader, whose process id is $0, even if it is dead already.
GUARD = '[ "$PPID" = "$0" ] && exec "$@"'


def command(
    kind: str,
    uid: int | None,
    visible: Sequence[Path],
    *,
    disk: int,
    fds: Mapping[str, int],
    inside: Sequence[str],
) -> list[str]:
    """Build the command that runs ``inside`` behind a wall of this kind.

    Parameters
    ----------
    uid
        Whom to become, where the grader is root; None where it is not.
    fds
        Where to read the contents of `accounts` from, for bubblewrap.
    """
    guard = ["setpriv", "--pdeathsig", "KILL", "--", "/bin/sh", "-c", GUARD, str(os.getpid())]
    drop = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    if uid is not None:
        drop += [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    else:  # in a user namespace of its own it has no right over the first process, its own user's
        user = ["unshare", "--user", f"--map-user={USER}", f"--map-group={USER}", "--keep-caps"]
        drop = [*user, *drop, "--ambient-caps=-all"]
    pairs = list(seen(visible))
    if kind == "bubblewrap":
        return [*guard, *_bubblewrap(uid, pairs, disk, drop, inside, fds)]
    return [*guard, *_util_linux(uid, pairs, disk, drop, inside)]


def accounts(uid: int | None) -> dict[str, str]:
    """Write the files that name who is there: contents by path."""
    who = uid or USER
    return {
        "/etc/passwd": f"student:x:{who}:{who}::{HOME}:/bin/sh\n",
        "/etc/group": f"student:x:{who}:\n",
        "/etc/hosts": "127.0.0.1 localhost\n",
    }


def _util_linux(
    uid: int | None,
    pairs: list[tuple[str, str]],
    disk: int,
    drop: list[str],
    inside: Sequence[str],
) -> list[str]:
    spaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child"]
    system = [path for path in (*SYSTEM, *ETC) if os.path.exists(path)]
    if uid is None:
        spaces += ["--user", "--map-root-user"]
    flat = [path for pair in pairs for path in pair]
    script = ["/bin/sh", "-c", SCRIPT, "sandbox", str(disk), str(INODES), *accounts(uid).values()]
    return ["unshare", *spaces, "--", *script, *system, "--", *flat, "--", *drop, *inside]


def _bubblewrap(
    uid: int | None,
    pairs: list[tuple[str, str]],
    disk: int,
    drop: list[str],
    inside: Sequence[str],
    fds: Mapping[str, int],
) -> list[str]:
    who = str(uid or USER)
    walls = ["--die-with-parent", "--new-session", "--unshare-pid", "--unshare-net"]
    walls += ["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]
    if uid is None:
        walls += ["--unshare-user", "--uid", who, "--gid", who]
    else:
        walls += ["--cap-drop", "ALL", *_each("--cap-add", ("CAP_SETUID", "CAP_SETGID"))]
        walls += ["--cap-add", "CAP_SETPCAP"]
    walls += ["--perms", "0755", "--dir", "/etc"]
    for path, fd in fds.items():
        walls += ["--perms", "0644", "--ro-bind-data", str(fd), path]
    for path in (*SYSTEM, *ETC):
        if os.path.islink(path) and path in SYSTEM:
            walls += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            walls += ["--ro-bind", path, path]
    walls += ["--proc", "/proc", "--dev", "/dev"]
    walls += ["--perms", "1777", "--size", str(SHARED), "--tmpfs", "/dev/shm"]
    walls += ["--perms", "1777", "--size", str(disk), "--tmpfs", "/tmp"]
    parents = {str(parent) for _, target in pairs for parent in Path(target).parents}
    for parent in sorted(parents - {"/", "/tmp", "/dev", *SYSTEM}):
        walls += ["--perms", "0755", "--dir", parent]
    for source, target in pairs:
        walls += ["--ro-bind", source, target]
    walls += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return ["bwrap", *walls, "--", *drop, *inside]


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def seen(visible: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """List what is visible besides the system: (where it is, where it is seen).

    The Python environment with the one that it was made from, `vglab`'s own folder (never what lies
    around it), and ``visible``.
    """
    folders = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    folders += [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    folders += [os.path.realpath(path) for path in folders]
    folders += [str(Path(__file__).parent.parent), *(str(path.absolute()) for path in visible)]
    links, path = [], sys.executable  # each link on the way from the environment's python
    while os.path.islink(path):
        links.append(path)
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    covered: list[str] = list(SYSTEM)
    for place in sorted({*folders, *links, path, str(INSIDE)}, key=lambda p: (p.count("/"), p)):
        above = [str(parent) for parent in (Path(place), *Path(place).parents)]
        if os.path.exists(place) and not any(parent in covered for parent in above):
            covered.append(place)
            yield os.path.realpath(place), place


def environment(home: str) -> dict[str, str]:
    """Give the environment's variables inside: ours, and none of the instructor's."""
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    one = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": home, "TMPDIR": home,
        "USER": "student", "LOGNAME": "student", "LANG": "C.UTF-8", "MPLBACKEND": "agg",
        "PYTHONPATH": ":".join([str(Path(__file__).parents[2]), *packages]),
        "PYTHONDONTWRITEBYTECODE": "1", **dict.fromkeys(one, "1"),
    }  # fmt: skip


class Uid:
    """A user id that nobody has, for one sandbox; a name that ends with this process holds it."""

    def __init__(self) -> None:
        for uid in random.sample(UIDS, len(UIDS)):
            self._held = socket.socket(socket.AF_UNIX)
            try:
                self._held.bind(f"\0vglab-sandbox-{uid}")
                free = not _known(uid) and not _processes.owned(uid)
            except OSError:
                free = False
            if free:
                self.value = uid
                return
            self._held.close()
        raise RuntimeError(f"no free user id from {UIDS.start} to {UIDS.stop - 1}")

    def release(self) -> None:
        """Give it back; nothing may run under it any more."""
        self._held.close()


def _known(uid: int) -> bool:
    import pwd  # Windows has none

    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def tools() -> str:
    """Give the PATH on which the tools that build the wall are."""
    return ":".join(["/usr/sbin:/usr/bin:/sbin:/bin", os.environ.get("PATH", "")])


def missing(kind: str) -> list[str]:
    """Name the tools that a kind needs and this machine lacks."""
    needed = ["mount", "umount", "pivot_root"] if kind == "namespaces" else ["bwrap"]
    return [
        tool for tool in ("setpriv", "unshare", *needed) if shutil.which(tool, path=tools()) is None
    ]
