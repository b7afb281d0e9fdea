"""Every command and every Python block on the pages is run, in the page's order, on small made-up data.

The tutorials in docs/plugins are followed by tests/examples in an environment of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from chart_image import photograph as photograph_of_chart
from doc_pages import ROOT, Block, blocks_in, blocks_of, pages
from forks import Forks
from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.cli.main import cli
from hsrzoo.io import save_cube
from hsrzoo.training.queue import read_queue
from make_fixtures import make_cave_tree, smooth_cube

RUNNER = Path(__file__).with_name("run_page.py")
HUB = Path(__file__).parents[1] / "hub" / "hub_server.py"
CONSOLE_PAGES = ("index",)
"""Pages whose commands run as a reader runs them, each in a process of its own."""
NOT_RUN = {
    "hsrzoo push results org/spectral-results --dataset",
    "hsrzoo predict photo.png --model mcga-s2 --interval metamer -o photo.hdr",
    "for fold in 0 1 2 3 4; do",
    "hsrzoo train mst-plus-plus --dataset cave --split without-fold-$fold --steps 10000 "
    "--out runs/mst-plus-plus.fold-$fold",
    "done",
    "hsrzoo train --queue queue.toml",
    "hsrzoo calibrate intervals local-dir:runs/mst-plus-plus-cave/weights --dataset cave "
    "--fold-models runs/mst-plus-plus.fold-{fold}/weights",
    "hsrzoo export mcga-s2 --intervals -o mcga-s2-intervals.onnx",
    "hsrzoo predict photo.png --model onnx:mcga-s2-intervals.onnx --interval 90 -o exported-90.hdr",
    "pip install .",
    "make bench",
    "make test",
    "make test-all",
    "make lint",
    "make tables",
    "python examples/demo.py",
    "torchrun --nproc-per-node 2 --no-python -- hsrzoo train mst-plus-plus --dataset cave --batch 4",
    "hsrzoo predict photos/ --model mcga-s2 -o cubes --format tiff --workers 4",
    "hsrzoo bench --bench speed --model mcga-s2 --model mst-plus-plus:reference --model mst-plus-plus "
    "--size 512 --threads 2",
    "hsrzoo bench --model mcga-s2 --model r3st --model mst-plus-plus --model gmsr --model agdnet "
    "--model hscnn-plus --model mcga-plus --model pixel-mlp --model linear --model poly "
    "--model mean-spectrum --dataset cave --bench accuracy --store records",
    "hsrzoo bench --bench speed --model mcga-s2 --model mcga-plus --model mst-plus-plus:reference "
    "--model mst-plus-plus --model r3st --model ssrnet --model ssthyper --model agdnet --model hysat "
    "--model gmsr --model msfn --model hscnn-plus --model hsiformer --model mcga-plus.general "
    "--model linear --model mean-spectrum --model pixel-mlp --model poly "
    "--size 256 --memory-limit 8 --threads 2 --speed-seconds 4 --store records",
    "hsrzoo bench --bench speed --model mcga-s2 --model mcga-plus --model mst-plus-plus:reference "
    "--model mst-plus-plus --model r3st --model ssrnet --model ssthyper --model agdnet --model hysat "
    "--model gmsr --model msfn --model hscnn-plus --model hsiformer "
    "--size 1024 --memory-limit 8 --threads 1 --speed-seconds 4 --store records",
    "hsrzoo train gmsr --dataset cave --split without-fold-0 --steps 477 --out runs/gmsr.fold-0",
    "hsrzoo bench --model gmsr.cave-cv=local-dir:runs/gmsr.fold-0/weights --dataset cave --split fold-0 "
    "--store mine",
    "hsrzoo train --queue benchmark/hsrzoo_benchmark/studies/cave-cv.toml --out runs",
    "hsrzoo report --store records --split cv --model *.cave-cv --markdown",
    "hsrzoo ensemble local-dir:runs/gmsr.fold-0/weights local-dir:runs/pixel-mlp.fold-0 --fit cave "
    "--split fold-0 -o fold-0",
    "hsrzoo calibrate intervals local-dir:runs/mine/weights --dataset mine --split valid",
    "hsrzoo bench --model linear.cave --dataset cave --bench uncertainty --metrics rmse",
    "hsrzoo ensemble gmsr.cave pixel-mlp.cave --shares-of local-dir:fold-0 --shares-of local-dir:fold-1 "
    "-o mean",
}
"""All that no test runs; each has its reason beside it on the page."""


def photograph(path: Path, seed: int = 0) -> None:
    """A smooth colour picture of 48 x 40 pixels."""
    cube = smooth_cube(BandSet.regular(400, 700, 150), 40, 48, seed)
    Image.fromarray(np.rint(cube[::-1].transpose(1, 2, 0) * 255).astype(np.uint8)).save(path)


def scratch(folder: Path) -> None:
    """What every page may take for granted: photographs, a data root, and parts of the source folder."""
    for name, seed in (("photo.jpg", 0), ("photo.png", 1)):
        photograph(folder / name, seed)
    (folder / "photos").mkdir()
    for seed in (2, 3):
        photograph(folder / "photos" / f"{seed}.png", seed)
    make_cave_tree(folder / "data", height=64, width=64)
    for name in ("records", "examples", "scripts"):
        (folder / name).symlink_to(ROOT / name)


def cubes(folder: Path, page: str) -> None:
    (folder / "out").mkdir()
    for seed, name in enumerate(("photo", "other")):
        cube = smooth_cube(VISIBLE_31, 40, 48, seed).transpose(1, 2, 0)
        save_cube(folder / "out" / f"{name}.hdr", cube, VISIBLE_31)


def cubes_of_mine(folder: Path, page: str) -> None:
    (folder / "data" / "mine").mkdir()
    cube = smooth_cube(VISIBLE_31, 40, 48, 1).transpose(1, 2, 0)
    save_cube(folder / "data" / "mine" / "garden.hdr", cube, VISIBLE_31)


def measured_points(folder: Path, page: str) -> None:
    spectra = smooth_cube(VISIBLE_31, 4, 5, 1)
    lines = ["row,column," + ",".join(f"{nm:g}" for nm in VISIBLE_31.centres_nm)]
    lines += [f"{i},{i}," + ",".join(map(str, spectra[:, i, i])) for i in range(4)]
    (folder / "points.csv").write_text("\n".join(lines) + "\n")


def pairs(folder: Path, page: str) -> None:
    for seed, split in enumerate(("train", "train", "valid"), 1):
        name = f"leaf-0{seed}"
        cube = smooth_cube(VISIBLE_31, 40, 48, seed).transpose(1, 2, 0)
        for kind in ("rgb", "cube"):
            (folder / "pairs" / split / kind).mkdir(parents=True, exist_ok=True)
        save_cube(folder / "pairs" / split / "cube" / f"{name}.hdr", cube, VISIBLE_31)
        photograph(folder / "pairs" / split / "rgb" / f"{name}.png", seed)


def hyperglobal(folder: Path, page: str) -> None:
    from scipy.io import savemat

    bands = BandSet.regular(420, 2320, 10)
    for split, seed in (("train", 0), ("test", 1)):
        home = folder / "data" / "hyperglobal-450k" / split
        home.mkdir(parents=True)
        stored = np.rint(smooth_cube(bands, 64, 64, seed) * 10_000).astype(np.int16)
        savemat(home / f"sample_{seed:04d}.mat", {"data": stored})
    rows = "".join(f"{centre},10\n" for centre in bands.centres_nm)
    (home.parent / "wavelengths.csv").write_text("wavelength_nm,fwhm_nm\n" + rows)


def raster(folder: Path, page: str) -> None:
    rgb = smooth_cube(BandSet.regular(400, 700, 150), 64, 80, 4).transpose(1, 2, 0)
    save_cube(folder / "raster.hdr", rgb, BandSet.regular(400, 700, 150))


def checkpoint(folder: Path, page: str) -> None:
    import torch

    from hsrzoo.registry import MODELS
    from hsrzoo.spec import build_module

    module = build_module(MODELS.get("mst-plus-plus"), VISIBLE_31, {})
    torch.save({"state_dict": module.state_dict()}, folder / "mst_plus_plus.pth")


def queue(folder: Path, page: str) -> None:
    """The file that the page shows."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    (folder / "queue.toml").write_text(text.split("```toml\n")[1].split("```")[0])


MARKERS = "before\n<!-- results -->\n<!-- end of results -->\nafter\n"


def readme(folder: Path, page: str) -> None:
    (folder / "README.md").write_text(MARKERS)


def tables(folder: Path, page: str) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "tables.md").write_text(MARKERS)


def chart(folder: Path, page: str) -> None:
    photograph_of_chart(folder / "chart.tif")
    photograph_of_chart(folder / "scene.tif", "sg140")


FILES: dict[str, Callable[[Path, str], None]] = {
    "cubes": cubes, "cubes-of-mine": cubes_of_mine, "measured-points": measured_points, "pairs": pairs,
    "hyperglobal": hyperglobal, "raster": raster,
    "checkpoint": checkpoint, "readme": readme, "tables": tables,
    "chart": chart,
}  # fmt: skip
COMMANDS = {
    "rows": ["hsrzoo bench --model linear --model poly --dataset cave --store mine"],
    "rows-of-linear": ["hsrzoo bench --model linear --dataset cave"],
    "published": ["hsrzoo push mcga-s2.cave org/mcga-s2-cave"],
    "codebook": [
        "hsrzoo codebook train --dataset cave --steps 2 --codes 16 --figures-split valid",
        "hsrzoo train mcga-s2 --dataset cave --start runs/codebook-cave/codebook --steps 1",
    ],
}


@pytest.fixture(scope="module")
def hub() -> Iterator[dict[str, str]]:
    """Variables of somebody who may write to ``org`` on a Hub of its own process."""
    token = "hf_MayWriteToOrg0123456789abcdefghijkl"
    server = subprocess.Popen(
        [sys.executable, str(HUB)],
        env={**os.environ, "HUB_USERS": json.dumps({token: ["me", "org"]})},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        yield {
            "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_TOKEN": token,
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip
    finally:
        server.kill()
        server.wait()


def steps(blocks: list[Block], console: bool) -> list[dict[str, Any]]:
    """What run_page.py is given."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        for name in block.prepare:
            found += [
                {"where": f"prepare {name}", "words": line.split(), "env": {}, "console": console}
                for line in COMMANDS.get(name, [])
            ]
        if block.not_run:
            continue
        if block.source:
            found.append({"where": block.where, "source": block.source})
        for command in block.commands:
            found.append(
                {"where": block.where, "words": command.words, "env": command.env, "console": console}
            )
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell")
@pytest.mark.parametrize("page", [page for page in pages() if blocks_of(page)])
def test_every_command_of_the_page_runs(
    page: str, forks: Forks, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    scratch(tmp_path)
    found = blocks_of(page)
    for name in {name for block in found for name in block.prepare} - COMMANDS.keys():
        FILES[name](tmp_path, page)
    network = request.getfixturevalue("hub") if page == "hub" else {"HF_HUB_OFFLINE": "1"}
    env = {
        **network, "HF_HOME": str(tmp_path / "hf"), "HSRZOO_DATA": str(tmp_path / "data"),
        "NO_COLOR": "1",
    }  # fmt: skip
    given = json.dumps(steps(found, page in CONSOLE_PAGES))
    done = forks.python(str(RUNNER), cwd=tmp_path, env=env, text=given)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"


def test_what_is_not_run_is_listed_and_has_a_reason() -> None:
    left = [block for page in pages() for block in blocks_of(page) if block.not_run]
    assert {command.text for block in left for command in block.commands} == NOT_RUN
    assert all(len(block.not_run) > 10 for block in left)


def test_no_command_hides_in_a_block_of_another_language() -> None:
    for page in pages():
        text = (ROOT / "docs" / f"{page}.md").read_text()
        inside = False
        for line in text.splitlines():
            if line.startswith("```"):
                inside, language = not inside, line[3:]
            elif inside and line.startswith("hsrzoo "):
                assert language in ("sh", "console"), f"{page}: {line}"


def parsed(words: list[str]) -> None:
    """Let Click read a command line without running it: unknown commands and options raise."""
    name, command, parent, rest = "hsrzoo", cli, None, words[1:]
    while True:
        parent = command.make_context(name, list(rest), parent=parent)
        if not isinstance(command, click.Group):
            return
        rest = [*parent._protected_args, *parent.args]
        name, command, rest = command.resolve_command(parent, rest)


def test_commands_of_the_readme_and_those_that_are_not_run_can_be_read() -> None:
    text = (ROOT / "README.md").read_text().replace("```\n", "```sh\n")
    every = blocks_in(_opened(text), "README")
    every += [block for page in pages() for block in blocks_of(page) if block.not_run]
    lines = [c.words for block in every for c in block.commands if c.words[0] == "hsrzoo"]
    assert len(lines) > 10
    for words in lines:
        parsed(words)


def test_all_jobs_of_the_queue_on_the_page_can_be_read(tmp_path: Path) -> None:
    queue(tmp_path, "train")
    first, last = read_queue(tmp_path / "queue.toml", tmp_path / "runs")
    for words in (*first.commands, *last.commands):
        parsed(["hsrzoo", *words])


def _opened(text: str) -> str:
    """Every second fence closes again: all were made to open."""
    parts = text.split("```")
    return "```".join(p.removeprefix("sh") if i % 2 == 0 else p for i, p in enumerate(parts))


def test_a_replacement_is_made_in_python_too() -> None:
    (block,) = blocks_in("<!-- test: 9_000 => 9 -->\n```python\nside = 9_000\n```\n", "page")
    assert block.source == "side = 9\n"


def test_a_replacement_that_replaces_nothing_fails() -> None:
    with pytest.raises(AssertionError, match="replaces nothing"):
        blocks_in("<!-- test: --steps 9 => --steps 1 -->\n```sh\nhsrzoo list\n```\n", "page")


def test_a_page_with_a_command_that_fails_fails(forks: Forks, tmp_path: Path) -> None:
    given = steps(blocks_in("```sh\nhsrzoo list no-such-*\nhsrzoo info nothing\n```\n", "page"), False)
    done = forks.python(str(RUNNER), cwd=tmp_path, text=json.dumps(given))
    assert done.returncode == 1 and "page.md:1: hsrzoo info nothing" in done.stdout
