"""The one thing pyproject.toml cannot say: a C part that may fail to build.

`emu.cpu._native` is no Python module but a plain shared object that must be in the process
before Unicorn is; where it cannot be built, the reference engine runs everything.
"""

import sys

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "emu.cpu._native",
            ["emu/cpu/native.c"],
            extra_compile_args=["-O2", "-Wall"],
            libraries=["dl"],
            optional=True,
        )
    ]
    if sys.platform == "linux"
    else [],
)
