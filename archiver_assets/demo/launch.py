"""Turn this process into a server: give up root, arm the death signal, then exec the server.

What belongs here: whatever must happen in the child between fork and exec, with the standard library only. It is a separate script because
`preexec_fn` may deadlock in a process with threads, and warns there since Python 3.12.

Linux clears the death signal when the user changes (prctl(2), PR_SET_PDEATHSIG), so the order below matters.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(uid: int, gid: int) -> None:
    """Give up root permanently, including supplementary groups."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with(parent: int, death_signal: int) -> None:
    """Ask Linux to send `death_signal` when the thread that started this process ends; exit at once if the parent has already ended."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("the parent process has ended")


def main(parent: int, death_signal: int, account: str, command: list[str]) -> None:
    """Replace this process with `command`. `account` is `uid:gid`, or empty to keep the current user; signal 0 arms nothing."""
    if account:
        uid, gid = account.split(":")
        become(int(uid), int(gid))
    if death_signal:
        die_with(parent, death_signal)
    # Python ignores these two, and an ignored signal stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606 -- without a shell: this process becomes the server


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
