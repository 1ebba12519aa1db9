r"""The initramfs that the Linux guests boot into: busybox, two modules, a few scripts.

    python tests/guests/initramfs.py FLAVOUR FILE      FLAVOUR is 686 or 686-pae

It is made of what `fetch.py` has brought, needs no root, and is the same every time.

    /init        mounts what there is to mount, then runs the job that the kernel's command line
                 names (job=NAME), or else a shell on the console
    /jobs/NAME   work whose result is known: see `JOBS`
    /lib         zsmalloc.ko, zram.ko

The format is cpio's "new ASCII format": for each file a header of 110 characters, its name, its
data, each filled up to 4 bytes (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CACHE = Path(__file__).parent / "cache"
PROMPT = "emu# "

DIRECTORY, REGULAR, LINK, CHARACTER = 0o040000, 0o100000, 0o120000, 0o020000

INIT = f"""\
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
echo 1 > /proc/sys/kernel/printk
export PATH=/bin HOME=/tmp PS1='{PROMPT}'
cd /tmp
if [ -n "$job" ]; then
    echo "job $job begins"
    sh "/jobs/$job"
    echo "job $job ends"
fi
exec setsid cttyhack sh
"""

# Each says what it has found out, and finds the same everywhere.
JOBS = {
    "md5sum": "dd if=/dev/zero bs=64k count=1600 2>/dev/null | md5sum\n",
    "gzip": """\
seq 1 120000 > numbers
gzip -c numbers > numbers.gz
gunzip -c numbers.gz | md5sum
md5sum < numbers.gz
""",
    "sort": """\
awk 'BEGIN { x = 1; for (i = 0; i < 20000; i++) { x = (x * 16807) % 2147483647; print x } }' > numbers
sort -n numbers | md5sum
""",
    "fork": """\
i=0
while [ $i -lt 1000 ]; do
    /bin/busybox true
    i=$((i + 1))
done
echo $i
""",
    "shell": """\
i=0 sum=0
while [ $i -lt 100000 ]; do
    sum=$(((sum + i * i) % 65521))
    i=$((i + 1))
done
echo $sum
""",
}


class Entry(NamedTuple):
    """A file of an archive."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def archive(entries: list[Entry]) -> bytes:
    """The cpio archive of *entries*."""
    pieces = []
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], 1):
        name = entry.name.encode() + b"\0"
        fields = [
            number,
            entry.mode,
            0,
            0,
            1,
            0,
            len(entry.data),
            0,
            0,
            *entry.device,
            len(name),
            0,
        ]
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        pieces += [filled(header + name), filled(entry.data)]
    return b"".join(pieces)


def filled(data: bytes) -> bytes:
    """*data* and zeros, to a multiple of 4 bytes."""
    return data + bytes(-len(data) % 4)


def entries(flavour: str) -> Iterator[Entry]:
    """What is in the initramfs for the kernel *flavour*."""
    for name in ("bin", "dev", "jobs", "lib", "proc", "sys", "tmp"):
        yield Entry(name, DIRECTORY | 0o755)
    yield Entry("dev/console", CHARACTER | 0o600, device=(5, 1))
    yield Entry("bin/busybox", REGULAR | 0o755, (CACHE / "busybox" / "busybox").read_bytes())
    yield Entry("bin/sh", LINK | 0o777, b"busybox")
    yield Entry("init", REGULAR | 0o755, INIT.encode())
    for name, script in JOBS.items():
        yield Entry(f"jobs/{name}", REGULAR | 0o644, script.encode())
    for name in ("zsmalloc.ko", "zram.ko"):
        yield Entry(
            f"lib/{name}", REGULAR | 0o644, (CACHE / f"linux-{flavour}" / name).read_bytes()
        )


def build(flavour: str) -> bytes:
    """The initramfs for the kernel *flavour*."""
    return archive(list(entries(flavour)))


if __name__ == "__main__":
    _, flavour, file = sys.argv
    Path(file).write_bytes(build(flavour))
