"""What pyproject.toml cannot say: a C part that may fail to build, and firmware that moves in.

`emu.cpu._native` is no Python module but a plain shared object that must be in the process
before Unicorn is; where it cannot be built, the reference engine runs everything.

The images of `firmware/`, built from sources that are no part of the package, are installed as
the data of `emu._firmware`; emu/images.py finds them there, or in the checkout.
"""

import runpy
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

SOURCES = Path("emu", "cpu")
checksum = runpy.run_path(str(SOURCES / "sources.py"))["checksum"]  # to import it needs Unicorn

setup(
    packages=[*find_packages(include=["emu", "emu.*"]), "emu._firmware"],
    package_dir={"emu._firmware": "firmware/images"},
    package_data={
        "emu": ["py.typed"],
        "emu._firmware": ["*"],
        "emu.cpu": ["*.c", "*.h"],
        "emu.savevm": ["FORMAT.md"],
    },
    ext_modules=[
        Extension(
            "emu.cpu._native",
            sorted(map(str, SOURCES.glob("*.c"))),
            depends=sorted(map(str, SOURCES.glob("*.h"))),
            define_macros=[("EMU_NATIVE_SOURCES", f"0x{checksum():X}u")],
            extra_compile_args=["-O2", "-Wall"],
            libraries=["dl"],
            optional=True,
        )
    ]
    if sys.platform == "linux"
    else [],
)
