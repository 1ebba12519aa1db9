"""Fetch the guests that are Debian's, from Debian; they are checked and never committed.

    python tests/guests/fetch.py

Each package is downloaded with `apt-get download` and not installed; what is wanted of it is kept in
`tests/guests/cache`, if its SHA-256 is the one below.  Packages for the i386 are downloaded with
package lists of their own, so that nothing changes on an amd64 machine.
Needs Debian 12 or an apt that knows its packages.  Exit status 0, or 1 with a line that says why.

Debian keeps one version of most packages.  Where the one below is gone, what has taken its place
is kept: it is Debian's by apt's own check, and said to be another.
"""

from __future__ import annotations

import fnmatch
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CACHE = Path(__file__).parent / "cache"


class Wanted(NamedTuple):
    """A file of a package."""

    file: str  # in the package; a * stands for what changes from version to version
    kept_as: str  # in CACHE
    sha256: str

    @property
    def path(self) -> Path:
        return CACHE / self.kept_as

    @property
    def is_there(self) -> bool:
        return self.path.exists() and self.is_good(self.path.read_bytes())

    def is_good(self, data: bytes) -> bool:
        return hashlib.sha256(data).hexdigest() == self.sha256


class Package(NamedTuple):
    """A package of Debian's."""

    name: str
    version: str  # the one that the sums are of
    files: Sequence[Wanted]
    architecture: str = ""  # none: whatever this machine's is
    newest: str = ""  # a package that depends on what takes this one's place, if not itself


def linux(flavour: str, sums: Sequence[str]) -> Package:
    """A kernel, with the modules that make a swap device of memory."""
    files = (
        ("boot/vmlinuz-*", "vmlinuz"),
        ("lib/modules/*/kernel/mm/zsmalloc.ko", "zsmalloc.ko"),
        ("lib/modules/*/kernel/drivers/block/zram/zram.ko", "zram.ko"),
    )
    return Package(
        f"linux-image-6.1.0-50-{flavour}",
        "6.1.176-1",
        [
            Wanted(file, f"linux-{flavour}/{name}", sha256)
            for (file, name), sha256 in zip(files, sums, strict=True)
        ],
        "i386",
        f"linux-image-{flavour}",
    )


PACKAGES = [
    Package(
        "seabios",
        "1.16.2-1",
        [
            Wanted(
                "usr/share/seabios/bios.bin",
                "seabios/bios.bin",
                "7ba476745bd8d32d66b7a5bd12999e2445e7a345a4a72c30352b1d4a69a26e88",
            )
        ],
    ),
    Package(
        "busybox-static",
        "1:1.35.0-4+deb12u1+b1",
        [
            Wanted(
                "bin/busybox",
                "busybox/busybox",
                "67fc1f3acfd15646d3b055f7cd3657c6608f34f6dde9485e0c76722cb0e43800",
            )
        ],
        "i386",
    ),
    Package(
        "grub-rescue-pc",
        "2.06-13+deb12u2",
        [
            Wanted(
                "usr/lib/grub-rescue/grub-rescue-floppy.img",
                "grub/floppy.img",
                "16c0f35f748dd96ef668a59a5cd8dca867165dfafe7562196567fc0399837f70",
            )
        ],
        "i386",
    ),
    Package(
        "memtest86+",
        "6.10-4",
        [
            Wanted(
                "boot/memtest86+ia32.bin",
                "memtest86+/memtest.bin",
                "9aee6d56888b8a78fa1dd774b341db40ea8049a576417de302e5daed4c91707e",
            )
        ],
        "i386",
    ),
    linux(
        "686",
        [
            "c77cd9c37609b8b1b1cdfbb91b644a44d606d3d75da8656a0c79635be0b89c21",
            "16c3e9dba9df584b5ea4112ab5cf0c0e7fcc3f192cb7f181c582b6281db35880",
            "4000e84e1b84393d102545decedfe4250f360d23c63d0dca0a5259ab7a2b7369",
        ],
    ),
    linux(
        "686-pae",
        [
            "1189448de4dd23d05b18a5dff28d4a95c5bfd9f0088d553c5d16a68fa0bfe5a7",
            "25f3c6b907cacad47280c3ac1944e6f1b5cca32e7d709b068027c0002d84cecb",
            "a2ac69d3f53b8a15bfeebf694acc4d91bd22ef2ef1efd9a29d260240dd1eeef8",
        ],
    ),
]


class Problem(Exception):  # noqa: N818 - what there is to say
    """A package cannot be had; the text says why."""


# ==== apt =================================================================================


class Apt:
    """apt, with lists of its own for an architecture that is not the machine's."""

    def __init__(self, folder: Path, architecture: str) -> None:
        self.options: list[str] = ["-o", "APT::Sandbox::User=root"]  # who can write to our folders
        if architecture:
            for inner in ("lists/partial", "cache/archives/partial"):
                (folder / inner).mkdir(parents=True)
            (folder / "status").touch()  # nothing is installed
            for option in (
                f"APT::Architecture={architecture}",
                f"APT::Architectures={architecture}",
                f"Dir::State={folder}",
                f"Dir::State::lists={folder / 'lists'}",
                f"Dir::State::status={folder / 'status'}",
                f"Dir::Cache={folder / 'cache'}",
            ):
                self.options += ["-o", option]
            self.run("apt-get", "update")  # one list of many that fails is none of ours, perhaps

    def run(self, program: str, *words: str, folder: Path | None = None) -> tuple[bool, str, str]:
        """Whether it went well, what it said, and what it complained of in its last line."""
        command = [program, *self.options, *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        complaints = done.stderr.strip().splitlines()
        return done.returncode == 0, done.stdout, complaints[-1] if complaints else ""

    def download(self, wanted: str, folder: Path) -> Path:
        """The package *wanted*, in *folder*; raises Problem."""
        went_well, _, complaint = self.run("apt-get", "download", wanted, folder=folder)
        packages = list(folder.glob("*.deb"))
        if not went_well or not packages:
            raise Problem(f"apt-get download {wanted}: {complaint}")
        return packages[0]

    def newest(self, package: Package) -> str:
        """The name of what is in the place of *package* now."""
        if not package.newest:
            return package.name
        _, said, complaint = self.run("apt-cache", "depends", package.newest)
        stem = package.name.split("-")[0]
        depends = [line.split()[-1] for line in said.splitlines() if "Depends:" in line]
        found = [name for name in depends if name.startswith(stem)]
        if not found:
            raise Problem(f"apt-cache depends {package.newest}: {complaint or 'nothing known'}")
        return found[0]


# ==== fetching ============================================================================


def fetch(package: Package, folder: Path, apt: Apt) -> str:
    """Bring the files of *package* to their places by way of *folder*; what there is to say of it.

    Raises Problem.
    """
    try:
        file = apt.download(f"{package.name}={package.version}", folder)
        said = "there"
    except Problem:
        file = apt.download(apt.newest(package), folder)
        said = f"there, but {file.name}, not version {package.version}"
    found = unpack(file, package.files)
    for wanted in package.files:
        if said == "there" and not wanted.is_good(found[wanted.file]):
            raise Problem(f"{wanted.file} is not the file that is expected")
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        wanted.path.write_bytes(found[wanted.file])
    return said


def unpack(package: Path, files: Sequence[Wanted]) -> dict[str, bytes]:
    """The contents of *files*, by `Wanted.file`; raises Problem where one is not there."""
    found: dict[str, bytes] = {}
    command = ["dpkg-deb", "--fsys-tarfile", package]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive,
    ):
        for member in archive:
            for wanted in files:
                if fnmatch.fnmatch(member.name.removeprefix("./"), wanted.file):
                    content = archive.extractfile(member)
                    found[wanted.file] = content.read() if content is not None else b""
    for wanted in files:
        if wanted.file not in found:
            raise Problem(f"{wanted.file} is not in {package.name}")
    return found


def main() -> int:
    """Fetch them all."""
    problems = 0
    apts: dict[str, Apt] = {}
    with tempfile.TemporaryDirectory() as name:
        for package in PACKAGES:
            said = "there"
            if not all(wanted.is_there for wanted in package.files):
                try:
                    folder = Path(name) / package.name
                    folder.mkdir()
                    architecture = package.architecture
                    if architecture not in apts:
                        apts[architecture] = Apt(Path(name) / f"apt-{architecture}", architecture)
                    said = fetch(package, folder, apts[architecture])
                except Problem as problem:
                    problems += 1
                    said = str(problem)
            print(f"{package.name}: {said}", flush=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
