"""Print a digest of the files that distributions own: ``python installed_files.py NAME ...``."""

import hashlib
import sys
from importlib.metadata import distribution

digest = hashlib.sha256()
for name in sys.argv[1:]:
    for file in sorted(distribution(name).files or [], key=str):
        # What Python compiles on import is nobody's to keep.
        if "__pycache__" not in file.parts:
            path = file.locate()
            digest.update(f"{file} {path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
print(digest.hexdigest())
