"""`python freeze.py TID`: holds one thread of a running process still until it ends; all its other threads go on."""

import ctypes
import os
import sys

_SEIZE, _INTERRUPT, _WALL = 0x4206, 0x4207, 0x40000000


def freeze(thread: int) -> None:
    """Stop a thread by ptrace and come back when it is gone. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    for request in (_SEIZE, _INTERRUPT):
        if libc.ptrace(request, thread, None, None) == -1:
            raise OSError(ctypes.get_errno(), f"ptrace of thread {thread}: {os.strerror(ctypes.get_errno())}")
    sys.stdout.write("frozen\n")
    sys.stdout.flush()
    while True:  # stopped it stays; only its end is of interest
        try:
            _, status = os.waitpid(thread, _WALL)
        except ChildProcessError:
            return
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return


if __name__ == "__main__":
    freeze(int(sys.argv[1]))
