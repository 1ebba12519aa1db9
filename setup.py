"""What pyproject.toml cannot say: a C part that may fail to build, and firmware that moves in.

`emu.cpu._native` is no Python module but a plain shared object that must be in the process
before Unicorn is; where it cannot be built, the reference engine runs everything.

The images of `firmware/`, built from sources that are no part of the package, are installed as
the data of `emu._firmware`; emu/images.py finds them there, or in the checkout.
"""

import sys

from setuptools import Extension, find_packages, setup

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
            [
                "emu/cpu/native.c",
                "emu/cpu/interrupt_flag.c",
                "emu/cpu/delivery.c",
                "emu/cpu/shadows.c",
                "emu/cpu/corrections.c",
                "emu/cpu/translating.c",
                "emu/cpu/floating.c",
            ],
            depends=["emu/cpu/corrections.h", "emu/cpu/native.h"],
            extra_compile_args=["-O2", "-Wall"],
            libraries=["dl"],
            optional=True,
        )
    ]
    if sys.platform == "linux"
    else [],
)
