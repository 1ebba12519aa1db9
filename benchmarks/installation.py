"""The emulator of this checkout, installed as a user has it.

A developer's Python does more as it starts: it puts an import hook for each editable package in place,
and runs what test tools have left for it to run.  That takes as long as all of Python otherwise, and
is none of the emulator's; which in a checkout looks besides whether its C part is up to date.  So
what is measured is a virtual environment of its own, which holds copies of the emulator and of
Unicorn, and a command like the one that pip writes.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

COMMAND = """\
#!{python}
import sys
from emu.__main__ import main
if __name__ == '__main__':
    sys.exit(main())
"""


def environment() -> dict[str, str]:
    """The environment of a user, who has told Python nothing about how to run."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def install(folder: Path) -> Path:
    """Install this checkout in *folder*; the path of the command `emu`."""
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    shutil.copytree(ROOT / "emu", packages / "emu", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "firmware" / "images", packages / "emu" / "_firmware")
    shutil.copytree(folder_of("unicorn"), packages / "unicorn")
    command = folder / "bin" / "emu"
    command.write_text(COMMAND.format(python=python))
    command.chmod(0o755)
    # As pip does, so that no run that is measured has to.
    compile_all = [str(python), "-m", "compileall", "-q", str(packages / "emu")]
    subprocess.run(compile_all, env=environment(), check=True)  # noqa: S603
    return command


def folder_of(package: str) -> Path:
    """The folder that Python finds *package* to be."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}")
    return Path(spec.origin).parent
