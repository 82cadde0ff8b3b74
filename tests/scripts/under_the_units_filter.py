"""Runs a program under the system call filter of a list, and without memory that is both writable and executable.

    under_the_units_filter.py LIST PROGRAM ARGUMENT...

LIST: a file with the names of the allowed system calls. All others fail with EPERM, as `SystemCallErrorNumber` says.
Before Linux 6.3 the kernel does not refuse such memory, and only the filter applies.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 38, 65, 1
ALLOW, FAIL_WITH = 0x7FFF0000, 0x00050000


def main(names: str, program: str, *arguments: str) -> None:
    libc, library = ctypes.CDLL(None), ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
    context = ctypes.c_void_p(library.seccomp_init(FAIL_WITH | errno.EPERM))
    for name in Path(names).read_text().split():
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # of this machine's kind of processor
            assert library.seccomp_rule_add(context, ALLOW, number, 0) == 0, name
    assert library.seccomp_load(context) == 0
    os.execvp(program, [program, *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
