"""Output folders: checked before the work, and given all files of a plan or none."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from opentps_brimstone._util.interrupts import interrupt_held_back, short_lived_folder

__all__ = ["check_folder", "written_together"]


def check_folder(folder: Path, names: Sequence[str]) -> None:
    """Check, before long work, that files can be written into a folder after it; the folder need not exist yet."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"the output folder {folder} is a file; give another one")
    if folder.is_symlink() and not folder.exists():
        raise NotADirectoryError(f"the output folder {folder} is a link to {folder.readlink()}, which does not exist")
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"the output folder {folder} cannot be made: {nearest} is a file")
    try:
        Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=nearest)).rmdir()
    except OSError as error:
        raise PermissionError(f"the output folder {folder} cannot be written in {nearest}: {error.strerror}") from None
    for name in names:
        if (folder / name).is_dir():
            raise IsADirectoryError(f"{folder / name} is a folder; the file of that name cannot be written")


@contextlib.contextmanager
def written_together(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Write files that appear in a folder together at the end of the block, or not at all if it fails.

    The block gets the folder to write them into. Files of these names are replaced, or removed if the block does not
    write them; others are left alone.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Inside a folder that exists: what it lies in may be another file system, or not to be written.
    with short_lived_folder(f".{folder.name}-", folder if folder.exists() else folder.parent) as staging:
        new, old = staging / "new", staging / "old"
        new.mkdir()
        old.mkdir()
        yield new
        with interrupt_held_back():
            if folder.exists():
                _exchange(folder, names, new, old)
            else:
                new.rename(folder)


def _exchange(folder: Path, names: Sequence[str], new: Path, old: Path) -> None:
    """Replace old files by new ones; if that fails, restore the old ones."""
    moved: list[Path] = []
    try:
        for name in names:
            if (folder / name).exists():
                (folder / name).replace(old / name)
        for path in sorted(new.iterdir()):
            path.replace(folder / path.name)
            moved.append(folder / path.name)
    except BaseException:
        for path in moved:
            path.unlink()
        for path in old.iterdir():
            path.replace(folder / path.name)
        raise
