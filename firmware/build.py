"""Assemble the ROMs, the guests and the kernels, or check that the committed images are what this gives.

    python firmware/build.py            build all into firmware/images, and write SHA256SUMS
    python firmware/build.py --check    build into a temporary folder and compare, byte for byte

One line a file.  Exit status: 0 done, 1 a file differs or does not assemble, 2 no nasm (or bad
usage).  The images are flat binaries: they depend on the sources alone, not on paths or time.
"""  # noqa: INP001 - a script beside its sources, not a package

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent
IMAGES = FIRMWARE / "images"
SUMS = "SHA256SUMS"  # in the form that `sha256sum -c` reads

DONE, DIFFERENT, NO_NASM = 0, 1, 2


def images() -> dict[str, Path]:
    """Each image's name and the source it is assembled from."""
    roms = {f"{name}.rom": FIRMWARE / "rom" / f"{name}.asm" for name in ("emu", "torture", "fuzz")}
    guests = {f"{source.stem}.bin": source for source in (FIRMWARE / "guests").glob("*.asm")}
    kernels = {f"kernel.{name}": FIRMWARE / "kernels" / f"{name}.asm" for name in ("elf", "aout")}
    return roms | dict(sorted(guests.items())) | kernels


def assemble(nasm: str, folder: Path) -> dict[str, bytes]:
    """Every image and the list of sums, by name; raises CalledProcessError after nasm's message."""
    built = {}
    for name, source in images().items():
        target = folder / name
        command = [
            nasm,
            "-f",
            "bin",
            "-w+all",
            "-I",
            "include/",
            "-I",
            "rom/",
            "-I",
            "./",
            "-o",
            str(target),
        ]
        command.append(str(source.relative_to(FIRMWARE)))
        subprocess.run(command, cwd=FIRMWARE, check=True)  # noqa: S603 - nasm and our own names
        built[name] = target.read_bytes()
    sums = [f"{hashlib.sha256(image).hexdigest()}  {name}\n" for name, image in built.items()]
    return built | {SUMS: "".join(sums).encode()}


def verdict(name: str, built: bytes) -> str:
    """How the committed file differs from what was built; empty if it does not."""
    path = IMAGES / name
    if not path.exists():
        return "missing"
    committed = path.read_bytes()
    if committed == built:
        return ""
    pairs = enumerate(zip(committed, built, strict=False))
    shorter = min(len(committed), len(built))
    offset = next((at for at, (found, expected) in pairs if found != expected), shorter)
    return f"differs from offset {offset:#x} on ({len(committed)} bytes committed)"


def report(name: str, built: bytes, word: str) -> None:
    sys.stdout.write(f"{name:<14}{len(built):>6} bytes  {word}\n")


def check(built: dict[str, bytes]) -> int:
    """Compare with the committed files, those that nothing builds included."""
    status = DONE
    for name, image in built.items():
        difference = verdict(name, image)
        report(name, image, difference or "same")
        if difference:
            status = DIFFERENT
    for stray in sorted(path for path in IMAGES.iterdir() if path.name not in built):
        report(stray.name, stray.read_bytes(), "has no source")
        status = DIFFERENT
    return status


def write(built: dict[str, bytes]) -> int:
    IMAGES.mkdir(exist_ok=True)
    for name, image in built.items():
        (IMAGES / name).write_bytes(image)
        report(name, image, "built")
    return DONE


def main() -> int:
    parser = argparse.ArgumentParser(description="Assemble the ROMs and the guests.")
    parser.add_argument("--check", action="store_true", help="compare with the committed images")
    options = parser.parse_args()
    nasm = shutil.which("nasm")
    if nasm is None:
        sys.stderr.write("build.py: nasm is not installed, or not on the PATH\n")
        return NO_NASM
    with tempfile.TemporaryDirectory() as folder:
        try:
            built = assemble(nasm, Path(folder))
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"build.py: nasm could not assemble {error.cmd[-1]}\n")
            return DIFFERENT
    return check(built) if options.check else write(built)


if __name__ == "__main__":
    sys.exit(main())
