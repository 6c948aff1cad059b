"""Part files: what one process began to write, and the next may go on with.

Only one process at a time writes on a part file, by a lock that ends with the
process. What is in it after a kill is whatever had been written; after a power
cut it may be anything, which is for the caller to know.

Public names: ``PartFile``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from mvc.errors import FormatError
from mvc.fileio import NewFile, private_path

# Where there are no locks, nobody can tell whether another process writes.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


class PartFile(NewFile):
    """A file held by this process alone, with what was written to it before."""

    @classmethod
    def claim(cls, path: Path) -> PartFile | None:
        """Open or make the part file at ``path``; ``None`` while another process holds it.

        Where the file system has no locks, it is an empty one under a private name.

        Raises:
            FormatError: Something that is no regular file is there.
            OSError: It may not be written to.
        """
        descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666
        )
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FormatError(f"'{path}' is not a regular file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_still(path, descriptor):  # its holder gave it its final name meanwhile
                os.close(descriptor)
                return None
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LOCKS:
                raise
            return cls(private_path(path.parent))
        except FormatError:
            os.close(descriptor)
            raise
        claimed = cls.__new__(cls)
        claimed._take(path, descriptor)
        return claimed

    def _take(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._within = None
        self._descriptor = descriptor
        self.size = self._begun = os.lseek(descriptor, 0, os.SEEK_END)

    def is_there(self) -> bool:
        """Say whether it has its name still: nobody else takes that away from who holds it."""
        return _is_still(self.path, self._descriptor)

    def empty(self) -> None:
        """Give up what has been written so far."""
        os.ftruncate(self._descriptor, 0)
        self.size = self._begun = os.lseek(self._descriptor, 0, os.SEEK_SET)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
