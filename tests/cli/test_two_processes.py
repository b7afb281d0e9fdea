"""Two processes that write one output at once: nothing is lost or made twice, and exit codes are true."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsrzoo.errors import LockedError
from hsrzoo.io import load_cube, save_cube
from hsrzoo.models.weights import read_config
from hsrzoo.prediction.batch import Done, Job, predict_many
from hsrzoo.prediction.predict import PredictOptions, Step, predict_file
from hsrzoo.utils.files import TENSORS, sha256_of_file
from small_image import content, draw, whole
from tiled_networks import BANDS, Chained, model

HERE = Path(__file__).parent
PLUGINS = (HERE.parent / "training" / "toys.py", HERE.parent / "benchmark" / "toy_plugin.py")
ROUNDS = 2
IN_USE = re.compile(r"Error: \S+ is in use by process \d+\. Expected one process at a time")
COMMANDS = {
    "predict": "predict image.npy --model linear.cave --tile 4 -o cube-{round}.hdr",
    "many": "predict images --model linear.cave --tile 8 -o cubes-{round}",
    "bench": "bench --model mean-spectrum.cave --dataset toy --resample --bench jpeg --metrics rmse "
    "--data-option scenes=3 --store store-{round}",
    "train": "train toy-net --dataset toy-set --steps 9 --batch 1 --patch 8 --out run-{round}",
    "codebook": "codebook train --dataset toy-set --steps 3 --batch 1 --patch 4 --scales 1 --latent 4 "
    "--codes 4 --out codes-{round}",
}

Rounds = list[list[tuple[int, str]]]


@pytest.fixture(scope="module")
def ran(forks, tmp_path_factory) -> tuple[Path, dict[str, Rounds]]:
    """The folder of all outputs, and what every command said in every round."""
    folder = tmp_path_factory.mktemp("both")
    image = draw(folder)
    (folder / "images").mkdir()
    for name in "abc":
        np.save(folder / "images" / f"{name}.npy", np.load(image)[:20])
    env = {
        "HSRZOO_PLUGINS": os.pathsep.join(map(str, PLUGINS)), "CUDA_VISIBLE_DEVICES": "",
        "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "NO_COLOR": "1",
    }  # fmt: skip
    text = json.dumps({name: [*command.split(), "--threads", "1"] for name, command in COMMANDS.items()})
    done = forks.python(str(HERE / "side_by_side.py"), ROUNDS, cwd=folder, env=env, text=text)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads(done.stdout)


def require_one_refused_at_most(rounds: Rounds) -> None:
    assert len(rounds) == ROUNDS
    for both in rounds:
        codes = sorted(code for code, _ in both)
        assert codes in ([0, 0], [0, 2]), both
        assert all(IN_USE.search(said) for code, said in both if code == 2), both


def test_predict(ran) -> None:
    folder, done = ran
    require_one_refused_at_most(done["predict"])
    cubes = [content(folder / f"cube-{i}.hdr") for i in range(ROUNDS)]
    assert all(sorted(cube.values()) == sorted(cubes[0].values()) for cube in cubes)
    assert load_cube(folder / "cube-0.hdr")[0].shape == (50, 43, 31)
    assert not [path for path in folder.glob(".*") if path.suffix in (".lock", ".part", ".hdr")]


def test_predict_into_a_folder_makes_each_cube_once(ran) -> None:
    folder, done = ran
    for i, both in enumerate(done["many"]):
        assert [path.name for path in sorted((folder / f"cubes-{i}").iterdir())] == [
            f"{name}.{suffix}" for name in "abc" for suffix in ("hdr", "img")
        ]
        made = sum(said.count("20 x 43 pixels") for _, said in both)
        assert made == 3 and [code for code, _ in both] == [0, 0], both


def test_bench_computes_no_row_twice(ran) -> None:
    folder, done = ran
    for i, both in enumerate(done["bench"]):
        assert [code for code, _ in both] == [0, 0], both
        rows = [
            (path.name, json.loads(line)["scene"])
            for path in (folder / f"store-{i}").rglob("*.jsonl")
            for line in path.read_text().splitlines()
        ]
        assert len(rows) == len(set(rows)) and len(rows) == 9
        assert not list((folder / f"store-{i}").rglob(".*"))


@pytest.mark.parametrize("name", ["train", "codebook"])
def test_train(ran, name: str) -> None:
    folder, done = ran
    for i, both in enumerate(done[name]):
        assert sorted(code for code, _ in both)[0] == 0, both
        for code, said in both:
            # one that came when the other had ended is told to resume
            assert code in (0, 1, 2), both
            assert code == 0 or (IN_USE.search(said) if code == 2 else "--resume" in said), both
        run = folder / f"{'run' if name == 'train' else 'codes'}-{i}"
        steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
        assert steps == list(range(1, 10 if name == "train" else 4))
        assert not list(run.rglob(".*"))
    if name == "train":
        weights = [folder / f"run-{i}" / "weights" for i in range(ROUNDS)]
        assert len({sha256_of_file(one / TENSORS) for one in weights}) == 1
        assert read_config(weights[0])["weights_sha256"] == sha256_of_file(weights[0] / TENSORS)


def elsewhere(work: Any, *arguments: Any) -> Any:
    """The result of ``work(*arguments)`` in another thread, which shares no lock with this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *arguments).result()


@pytest.mark.parametrize("name", ["a.hdr", "a.tif", "a.npz", "a.h5", "a.mat"])
def test_while_a_cube_is_made_nobody_else_writes_it(tmp_path: Path, name: str) -> None:
    image, out, refused = draw(tmp_path), tmp_path / name, []

    def progress(_: Step) -> None:
        for work in (
            lambda: predict_file(image, model(Chained), out),
            lambda: save_cube(out, np.zeros((2, 2, len(BANDS)), np.float32), BANDS),
        ):
            if len(refused) < 2:
                with pytest.raises(LockedError, match=rf"in use by process {os.getpid()}"):
                    elsewhere(work)
                refused.append(work)

    predict_file(image, model(Chained, tile=16), out, progress=progress)
    assert len(refused) == 2 and np.abs(load_cube(out)[0] - whole(image)).max() < 2e-6
    assert {path.stem for path in tmp_path.iterdir()} == {"image", "a"}


def test_a_cube_that_another_process_made_meanwhile_is_skipped(tmp_path: Path) -> None:
    image, out = draw(tmp_path), tmp_path / "a.npz"
    jobs = [Job(image, tmp_path / "b.npz"), Job(image, out)]
    results = predict_many(jobs, model(Chained), "chained", PredictOptions(overwrite=False))
    next(results)
    predict_file(image, model(Chained), out)
    ((_, late),) = results
    assert late == Done(None, (f"{out}: skipped (another process has written it)",))
