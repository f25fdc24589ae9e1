"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_whole(
    path: str | os.PathLike[str], data: bytes, *, mode: int = 0o666, durable: bool = False
) -> None:
    """Write `data` to a new file beside `path`, and put it in its place in one step.

    `mode` are the new file's rights, less those that the process' umask withholds. `durable`: the
    data is on the disk before the file is in its place, so that no crash leaves half of it there.
    Raises OSError; what stood at `path` then stays as it was.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
