"""What other work on the machine and the size of a photograph cost.

``python scripts/busy_time.py [NAME]`` (by default mcga-s2) prints

* the wall time of 512 x 512 pixels with the default number of threads and with one thread, on the machine
  as it is and with two busy processes beside, each in a process of its own;
* the wall and CPU time per megapixel of photographs of 1 and 24 megapixels with the default options, from
  file to file. This takes a few minutes, and 3 GB of disk in the folder for temporary files.

The images are noise: no step depends on what they show.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BUSY, SIDE, REPEATS = 2, 512, 9
SIZES = ((1000, 1000), (4000, 6000))
ONCE = """
import json, sys, time
import hsrzoo
model = hsrzoo.load(sys.argv[1], device="cpu")
import numpy as np, torch
if sys.argv[2] != "default":
    torch.set_num_threads(int(sys.argv[2]))
rgb = np.random.default_rng(0).random((int(sys.argv[3]), int(sys.argv[3]), 3), dtype=np.float32)
model(rgb)
seconds = []
for _ in range(int(sys.argv[4])):
    start = time.perf_counter()
    model(rgb)
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds))
"""


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that compute all the time."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def wall_seconds(name: str, threads: str) -> float:
    """Median wall time of a cube in a process of its own, after a first one."""
    command = [sys.executable, "-c", ONCE, name, threads, str(SIDE), str(REPEATS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(np.median(json.loads(done.stdout)))


def print_busy(name: str) -> None:
    """The lines of an idle and of a busy machine."""
    for count in (0, BUSY):
        with busy_processes(count):
            default, one = wall_seconds(name, "default"), wall_seconds(name, "1")
        print(
            f"{name}, {count} busy processes beside: default threads {default:.2f} s, "
            f"one thread {one:.2f} s, ratio {default / one:.2f}"
        )


def print_photographs(name: str) -> None:
    """A line for each size."""
    import hsrzoo
    from hsrzoo.prediction.predict import predict_file

    model = hsrzoo.load(name, device="cpu")
    model(np.zeros((64, 64, 3), np.uint8))
    first = None
    for height, width in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            image, megapixels = Path(folder) / "image.npy", height * width / 1e6
            np.save(image, np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
            wall, cpu = time.perf_counter(), time.process_time()
            report = predict_file(image, model, Path(folder) / "cube.hdr")
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        wall, cpu = wall / megapixels, cpu / megapixels
        first = first or (wall, cpu)
        print(
            f"{name}, {megapixels:.0f} megapixels in {report.tiles} tiles, a megapixel: wall {wall:.2f} s "
            f"(ratio {wall / first[0]:.2f}), CPU {cpu:.2f} s (ratio {cpu / first[1]:.2f})"
        )


def main() -> None:
    """Print all lines."""
    name = sys.argv[1] if len(sys.argv) > 1 else "mcga-s2"
    print_busy(name)
    print_photographs(name)


if __name__ == "__main__":
    main()
