"""Fetch the guests that are Debian's, from Debian; they are checked and never committed.

    python tests/guests/fetch.py

Each package is downloaded with `apt-get download`, unpacked with `dpkg -x` and not installed;
what is wanted of it is copied to `tests/guests/cache`, if its SHA-256 is the one below.
Needs Debian 12 or an apt that knows its packages.  Exit status 0, or 1 with a line that says why.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

CACHE = Path(__file__).parent / "cache"


class Guest(NamedTuple):
    """A file of a Debian package."""

    package: str
    version: str  # the one that the sum is of
    file: str  # in the package
    sha256: str

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return CACHE / self.package / Path(self.file).name


GUESTS = [
    Guest(
        "seabios",
        "1.16.2-1",
        "usr/share/seabios/bios.bin",
        "7ba476745bd8d32d66b7a5bd12999e2445e7a345a4a72c30352b1d4a69a26e88",
    ),
]


def is_good(guest: Guest, file: Path) -> bool:
    """True if *file* is there and is what it should be."""
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == guest.sha256


def fetch(guest: Guest) -> str | None:
    """Bring *guest* to its place; None, or why it could not be done."""
    if is_good(guest, guest.path):
        return None
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{guest.package}={guest.version}"
        download = subprocess.run(
            ["apt-get", "download", wanted], cwd=folder, capture_output=True, text=True, check=False
        )
        packages = list(Path(folder).glob("*.deb"))
        if download.returncode or not packages:
            return f"apt-get download {wanted}: {download.stderr.strip().splitlines()[-1]}"
        subprocess.run(["dpkg", "-x", packages[0], "."], cwd=folder, check=True)
        file = Path(folder) / guest.file
        if not is_good(guest, file):
            return f"{guest.file} of {wanted} is not the file that is expected"
        guest.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, guest.path)
    return None


def main() -> int:
    """Fetch them all."""
    problems = 0
    for guest in GUESTS:
        problem = fetch(guest)
        problems += problem is not None
        print(f"{guest.path.relative_to(CACHE)}: {problem or 'there'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
