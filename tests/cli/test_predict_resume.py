"""``hsrzoo predict`` after a kill or an interruption: what goes on, and what is refused."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from hsrzoo.errors import StoreError
from hsrzoo.io import load_cube
from hsrzoo.io.stream import part_of, state_of
from hsrzoo.models.tiling.saved import Saved
from hsrzoo.prediction.predict import PredictOptions, Step, predict_file
from small_image import content, draw, whole
from tiled_networks import BANDS, Chained, model

HERE = Path(__file__).parent


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return draw(tmp_path)


KILLED = {"a.hdr": "uint16", "a.tif": "float32", "a.zarr": "uint16"}


@pytest.fixture(scope="module")
def killed(forks, tmp_path_factory) -> dict[str, list[str]]:
    """What the last of several killed runs said, by the place of its cube; all formats in one process."""
    root = tmp_path_factory.mktemp("killed")
    image = draw(root)
    cubes = [f"{name}:{dtype}" for name, dtype in KILLED.items() if name != "a.zarr" or find_spec("zarr")]
    script, env = HERE / "killed_prediction.py", {"PYTHONPATH": str(HERE.parent)}
    done = forks.python(str(script), image, root, *cubes, cwd=root, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split("|") for line in done.stdout.splitlines()]
    return {place: told for place, *told in lines}


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_goes_on_and_makes_the_same_bytes(killed, name):
    """Six times killed, in the first, the second and the last pass, and while a tile is written."""
    if name == "a.zarr":
        pytest.importorskip("zarr", minversion="3")
    one, other = (next(Path(p) for p in killed if p.endswith(f"{x}/{name}")) for x in ("one", "other"))
    assert killed[str(one)][:2] == ["4", "False"] and "Resuming" not in "".join(killed[str(one)])
    passes, resumed, *_, said = killed[str(other)]
    assert (passes, resumed) == ("4", "True") and said.endswith("pass 4, 5 of its tiles are done")
    assert content(one) == content(other) and len(content(one)) >= 1
    assert load_cube(one)[0].shape == (50, 43, len(BANDS))


def interrupt(image: Path, out: Path, after: int, tile: int | None = 16, **options) -> None:
    """Begin a run that ends by an exception after some tiles."""

    class Stop(Exception):
        pass

    calls = iter(range(1000))

    def progress(_: Step) -> None:
        if next(calls) == after:
            raise Stop

    with pytest.raises(Stop):
        predict_file(
            image, model(Chained, tile=tile), out, PredictOptions(save_seconds=0, **options), progress
        )


def test_a_partial_cube_of_another_run_is_not_gone_on_with(image):
    out = image.parent / "a.tif"
    interrupt(image, out, 40)
    part = part_of(out)
    before = part.read_bytes()
    for other, options, named in (
        (model(Chained, seed=1, tile=16), PredictOptions(), r"model\.identity"),
        (model(Chained, tile=20), PredictOptions(), r"options\.tile: 16 before, 20 now"),
        (
            model(Chained, tile=16),
            PredictOptions(dtype="uint16"),
            r"options\.dtype: float32 before, uint16",
        ),
    ):
        with pytest.raises(StoreError, match=rf"another run.*{named}.*delete .*a\.tif\.part"):
            predict_file(image, other, out, options)
    np.save(image, np.load(image)[::-1])
    with pytest.raises(StoreError, match=r"image\.files\[0\]\.sha256"):
        predict_file(image, model(Chained, tile=16), out)
    assert part.read_bytes() == before
    part.unlink()
    assert not predict_file(image, model(Chained, tile=16), out).resumed
    assert np.abs(load_cube(out)[0] - whole(image)).max() < 2e-6
    assert {p.name for p in image.parent.iterdir()} == {"image.npy", "a.tif"}


def test_a_damaged_state_says_what_to_delete(image):
    out = image.parent / "a.hdr"
    interrupt(image, out, 20)
    state = state_of(part_of(out))
    value = json.loads(state.read_text())
    for broken in ("{", json.dumps({**value, "schema": 99}), json.dumps({**value, "work": {}})):
        state.write_text(broken)
        with pytest.raises(StoreError, match=r"cannot be read: .*a\.img\.part\.json.*Delete it"):
            predict_file(image, model(Chained, tile=16), out)


def test_what_is_known_is_stored_to_the_bit(image):
    out = image.parent / "a.hdr"
    interrupt(image, out, 30)  # within the third pass: two statistics are known, a third is being joined
    saved = Saved.read(state_of(part_of(out)), torch.device("cpu"))
    assert saved is not None and saved.tile == 16 and saved.work.done == 6
    works = list(_works(image))
    expected = next(w for w in works if w.passes == 2 and w.done == 6)
    assert len(saved.work.known) == len(expected.known) == 2
    for mine, theirs in zip(saved.work.known, expected.known, strict=True):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(mine, theirs, strict=True))
    assert saved.work.shares.reduce == expected.shares.reduce
    assert saved.work.shares.dtypes == expected.shares.dtypes
    pairs = zip(saved.work.shares.parts, expected.shares.parts, strict=True)
    assert all(torch.equal(a, b) and a.dtype == torch.float64 for a, b in pairs)


def _works(image: Path):
    from hsrzoo.io.raster import ArrayPixels
    from hsrzoo.models.tiling.choice import cut_for
    from hsrzoo.models.tiling.windows import PaddedImage

    toy = model(Chained)
    padded = PaddedImage(ArrayPixels(np.load(image)), toy.spec.input)
    return toy.tiles(padded, cut_for(toy, padded.size, 16), lambda *_: None)


def test_tiles_chosen_by_the_memory_are_kept_when_going_on(image, monkeypatch):
    """Between two runs the free memory changes, or the limit that is asked for; the cut must not."""
    from hsrzoo.models.tiling.choice import SPARE

    monkeypatch.setattr("hsrzoo.models.tiling.choice.SMALL", 0)
    monkeypatch.setattr("hsrzoo.models.tiling.choice.WHOLE_SPARE", SPARE)
    free = SPARE + 250_000
    monkeypatch.setattr("hsrzoo.prediction.run.available_memory", lambda _: 2 * free)
    out = image.parent / "a.hdr"
    said: list[str] = []
    interrupt(image, out, 3, tile=None)
    monkeypatch.setattr("hsrzoo.prediction.run.available_memory", lambda _: 2**40)
    report = predict_file(image, model(Chained, max_memory=2**40), out, say=said.append)
    assert report.resumed and report.tiles > 1 and "Resuming" in said[1]
    alone = predict_file(image, model(Chained), image.parent / "b.hdr")
    assert alone.tiles == 1
    np.testing.assert_allclose(load_cube(out)[0], load_cube(image.parent / "b.hdr")[0], atol=2e-6)


def test_a_run_stopped_while_files_get_their_names_is_only_finished(image, monkeypatch):
    out = image.parent / "a.hdr"
    predict_file(image, model(Chained, seed=1, tile=16), out)  # an old cube
    replace = os.replace

    class Killed(BaseException):
        pass

    def dies(source, target):
        if Path(target) == out:
            raise Killed
        replace(source, target)

    monkeypatch.setattr("hsrzoo.io.envi.os.replace", dies)
    toy = model(Chained, tile=16)
    with pytest.raises(Killed):
        predict_file(image, toy, out, PredictOptions(save_seconds=0))
    monkeypatch.undo()
    assert not out.exists() and not part_of(out).exists() and state_of(part_of(out)).exists()
    with pytest.raises(StoreError, match="another run"):
        predict_file(image, model(Chained, seed=1, tile=16), out)
    monkeypatch.setattr(toy, "run", lambda *_, **__: pytest.fail("the network ran again"))
    report = predict_file(image, toy, out)
    assert report.resumed and report.passes == 4
    assert np.abs(load_cube(out)[0] - whole(image)).max() < 2e-6
    assert {p.name for p in image.parent.iterdir()} == {"image.npy", "a.hdr", "a.img"}
