"""Becomes a server process: sheds root, arms the death signal, then executes the server in its own place.

What belongs here: what must happen in the child between fork and exec. It is run as a script of its own, not by `preexec_fn`, which may
deadlock in a process with threads and warns there since Python 3.12. What does not: anything else; only the standard library is at hand.

Linux clears the death signal when the user changes (prctl(2), PR_SET_PDEATHSIG), so the order below matters.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(uid: int, gid: int) -> None:
    """Give up root for good, supplementary groups included."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with(parent: int, death_signal: int) -> None:
    """Ask Linux for `death_signal` when the thread that started this process ends; leave at once if it already has."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("the parent process has gone")


def main(parent: int, death_signal: int, account: str, command: list[str]) -> None:
    """Replace this process by `command`; `account` is `uid:gid`, or empty to stay who we are; signal 0 arms nothing."""
    if account:
        uid, gid = account.split(":")
        become(int(uid), int(gid))
    if death_signal:
        die_with(parent, death_signal)
    # Python ignores these two, and an ignored signal stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606 -- no shell is wanted: this process becomes the server


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
