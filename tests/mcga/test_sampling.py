"""Priors over index maps, what is drawn from them, and how it is judged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import BandsError, InputError, WeightsError
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source, write
from hsrzoo_mcga.command import command
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.task import split_state
from hsrzoo_mcga.synthetic.judge import distances, judge, nearest_angles
from hsrzoo_mcga.synthetic.prior import NO_CODE, CodePrior
from hsrzoo_mcga.synthetic.prior_fit import (
    code_counts,
    cross_entropies,
    encode_known,
    optimise,
    orientations,
    unigram_entropies,
)
from make_fixtures import make_cave_tree


def prior(scales: int = 3, n: int = 9) -> CodePrior:
    torch.manual_seed(0)
    return CodePrior([torch.randn(n, 4 + i) for i in range(scales)])


def maps_like(side: int, scales: int = 3, n: int = 9, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(n, (2, side >> i, side >> i), generator=generator) for i in range(scales)]


@torch.inference_mode()
def test_an_index_depends_on_what_is_drawn_before_it_alone() -> None:
    one, maps = prior(), maps_like(16)
    for place in range(3):
        before = one.logits(maps, place)
        y, x = 2, 1
        changed = [m.clone() for m in maps]
        changed[place][:, y, x] = (changed[place][:, y, x] + 1) % 9
        differs = (one.logits(changed, place) != before).any(1).any(0).flatten().nonzero()[:, 0]
        width = maps[place].shape[2]
        assert len(differs) and int(differs[0]) > y * width + x
        for finer in range(place):
            changed = [m.clone() for m in maps]
            changed[finer] = (changed[finer] + 1) % 9
            assert torch.equal(one.logits(changed, place), before), "coarse maps come first"


@torch.inference_mode()
def test_an_index_depends_on_the_coarser_map_around_it() -> None:
    one, maps = prior(2), maps_like(16, 2)
    before = one.logits(maps, 0)
    maps[1][:, 4, 4] = (maps[1][:, 4, 4] + 1) % 9
    rows = (one.logits(maps, 0) != before).any(1).any(0).any(1).nonzero()[:, 0]
    assert int(rows[0]) == 6, "two rows above the cell's own, which are 8 and 9"


def test_drawing_by_windows_gives_the_probabilities_of_whole_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    one, seen = prior(2), []

    def first(p: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        seen.append(p)
        return ((p.cumsum(1) > 0.5).float().argmax(1))[:, None]

    monkeypatch.setattr(torch, "multinomial", first)
    maps = one.sample(2, 12, 16, torch.Generator())
    assert [tuple(m.shape) for m in maps] == [(2, 6, 8), (2, 3, 4)]
    with torch.inference_mode():
        for place, drawn in ((1, seen[:12]), (0, seen[12:])):
            whole = one.logits(maps, place).softmax(1).flatten(2)
            assert torch.allclose(torch.stack(drawn, 2), whole, atol=1e-5)


def test_draws_repeat_with_their_seed() -> None:
    one = prior(2)
    a, b, c = (one.sample(3, 8, 8, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a[0], c[0])


def test_cross_entropy_leaves_cells_without_data_out() -> None:
    one, maps = prior(2), maps_like(8, 2)
    maps[0][:, :, 5:] = NO_CODE
    maps[1][0] = NO_CODE
    found = cross_entropies(one, [maps, maps_like(4, 2, seed=5)])
    totals, counts = [0.0, 0.0], [0, 0]
    with torch.inference_mode():
        for scene in (maps, maps_like(4, 2, seed=5)):
            for place in (0, 1):
                log_p = one.logits(scene, place).log_softmax(1)
                for b, y, x in (scene[place] != NO_CODE).nonzero().tolist():
                    totals[place] -= float(log_p[b, scene[place][b, y, x], y, x])
                    counts[place] += 1
    assert found == pytest.approx([t / c for t, c in zip(totals, counts, strict=True)], rel=1e-5)


def test_the_unigram_is_the_smoothed_frequency() -> None:
    train, asked = [[torch.tensor([[[0, 0, 1, NO_CODE]]])]], [[torch.tensor([[[0, 2, NO_CODE]]])]]
    assert unigram_entropies(code_counts(train, 3), asked) == pytest.approx(
        [-(math.log(3 / 6) + math.log(1 / 6)) / 2]
    )


def test_maps_know_where_there_are_no_data() -> None:
    torch.manual_seed(0)
    module = SpectralAutoencoder(6, latent=8, n_codes=5)
    cube = torch.rand(6, 16, 16)
    cube[2, 0, 9] = torch.nan
    with torch.inference_mode():
        fine, coarse = encode_known(module, cube)
    assert (fine == NO_CODE).nonzero().tolist() == [[0, 0, 4]]
    assert (coarse == NO_CODE).nonzero().tolist() == [[0, 0, 2]]


def test_the_orientations_are_the_symmetries_of_a_square() -> None:
    cube = torch.arange(16.0).view(1, 4, 4)
    seen = {tuple(v.flatten().tolist()) for v in orientations(cube)}
    expected = {
        tuple(torch.rot90(f, k, (1, 2)).flatten().tolist()) for f in (cube, cube.flip(1)) for k in range(4)
    }
    assert seen == expected and len(seen) == 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_cave_tree(tmp_path)
    return tmp_path


@pytest.fixture
def codebook(root: Path) -> Path:
    """Untrained codes of 31 bands whose record names the made-up CAVE."""
    torch.manual_seed(0)
    module = SpectralAutoencoder(31, latent=8, n_codes=10)
    codes, rest = split_state(module)
    record = {"dataset": "cave", "options": {}, "split": "train", "held_out": ["balloons"]}
    write(root / "cb", codes, {"cave": rest}, [Source("cave", VISIBLE_31, 10, record)], 8)
    return root / "cb"


def run(*words: object) -> Result:
    result = CliRunner().invoke(command, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_samples_are_pairs_that_the_folder_data_set_reads(codebook: Path, root: Path) -> None:
    words = ("sample", codebook, "--count", 3, "--size", 16, "--prior-steps", 3, "--threads", 1)
    record = json.loads(run(*words, "--out", root / "a", "--json", "--data-root", root).stdout)
    data = open_dataset("folder", path=str(root / "a"))
    assert data.splits() == ("train",) and len(data.scenes("train")) == 3
    assert data.bands.same_as(VISIBLE_31) and data.verify().problems == []
    scene = data.load("train", data.scenes("train")[0])
    assert scene.cube.shape == (31, 16, 16) and scene.cube.min() >= 0 and scene.cube.max() <= 1
    from hsrzoo.camera import DEFAULT_CAMERA, Camera

    assert np.array_equal(scene.rgb, Camera.named(DEFAULT_CAMERA).render(scene.cube, VISIBLE_31))
    # those that stage 1 held out, where the last by name would be cd
    assert (record["prior"]["held_out"], record["prior"]["scenes"]) == (["balloons"], ["cd"])
    assert record["codebook"] == CodebookFolder.read(codebook).sha256
    assert json.loads((root / "a" / "record.json").read_text()) == record

    run(*words, "--out", root / "b")  # the prior is there: no data are needed
    run(*words, "--out", root / "c", "--seed", 1)
    first, second = (sorted((root / n / "train" / "cube").iterdir())[0].read_bytes() for n in "ab")
    assert first == second, "equal seeds give equal cubes"
    other = np.load(sorted((root / "c" / "train" / "cube").iterdir())[0])["cube"]
    assert not np.array_equal(other, scene.cube.transpose(1, 2, 0))


def test_a_prior_is_fitted_anew_for_other_steps_and_refused_when_changed(
    codebook: Path, root: Path
) -> None:
    words = ("sample", codebook, "--count", 1, "--size", 8, "--data-root", root, "--threads", 1)
    run(*words, "--out", root / "a", "--prior-steps", 2)
    about = codebook / "priors" / "cave.json"
    assert json.loads(about.read_text())["steps"] == 2
    run(*words, "--out", root / "b", "--prior-steps", 3)
    assert json.loads(about.read_text())["steps"] == 3
    weights = about.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsError, match="fitted again"):
        run(*words, "--out", root / "c", "--prior-steps", 3)
    for damage, said in (("{", "cannot be read as JSON"), ("[]", "a JSON object"), ("{}", "no schema")):
        about.write_text(damage)
        with pytest.raises(WeightsError, match=said):
            run(*words, "--out", root / "d", "--prior-steps", 3)


def test_fitting_learns_what_lies_beside_what() -> None:
    """Maps of diagonal stripes: after a few steps the next index is nearly certain."""
    ramp = torch.arange(8)
    views = [[((ramp[:, None] + ramp) % 4)[None], ((ramp[:4, None] + ramp[:4]) % 4)[None]]]
    torch.manual_seed(0)
    one = CodePrior([torch.randn(4, 4), torch.randn(4, 2)])
    before = cross_entropies(one, views)
    best = optimise(one, views, views, 40)
    assert max(cross_entropies(one, views)) < 0.5 < min(before) and min(best) > 20


def test_a_prior_that_only_recites_is_not_kept() -> None:
    """Other scenes than those learnt, which have nothing in common: no step helps, the start is kept."""
    generator = torch.Generator().manual_seed(0)

    def noise() -> list[torch.Tensor]:
        return [torch.randint(4, (1, side, side), generator=generator) for side in (8, 4)]

    torch.manual_seed(0)
    one, seen, calls = CodePrior([torch.randn(4, 4), torch.randn(4, 2)]), noise(), []
    for scale in one.scales:
        scale.head.weight.data.zero_()
        scale.head.bias.data.zero_()
    held_out = [noise()]
    optimise(one, [seen], held_out, 120, lambda: calls.append(1))
    assert max(cross_entropies(one, held_out)) <= math.log(4) + 1e-6
    assert len(calls) < 120, "it ends when the held-out scenes say so"


def test_an_only_scene_is_held_out_by_rows(codebook: Path, root: Path) -> None:
    from hsrzoo_mcga.stage1.decoding import load_autoencoder
    from hsrzoo_mcga.synthetic.prior_fit import fit

    folder = CodebookFolder.read(codebook)
    source = folder.sources[0]

    class One:
        name, info, bands = "one", {}, VISIBLE_31

        def scenes(self, split: str) -> list[str]:
            return ["field"]

        def load(self, split: str, scene: str) -> Scene:
            cube = torch.rand(31, 42, 18, generator=torch.Generator().manual_seed(0)).numpy()
            return Scene(scene, cube[:3], cube)

        def fingerprint(self) -> str:
            return "one"

    record = fit(folder, source, load_autoencoder(folder, source), One(), "train", 1).record  # type: ignore[arg-type]
    assert (record["scenes"], record["held_out"]) == (["field, rows to 31"], ["field, rows from 32"])
    One.bands = BandSet.regular(410, 710, 10)
    with pytest.raises(BandsError):
        fit(folder, source, load_autoencoder(folder, source), One(), "train", 1)  # type: ignore[arg-type]


def test_what_cannot_be_sampled_is_refused_before_anything_is_computed(codebook: Path, root: Path) -> None:
    with pytest.raises(InputError, match="multiple of 4"):
        run("sample", codebook, "--size", 18, "--out", root / "x")
    (root / "used" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="already"):
        run("sample", codebook, "--out", root / "used")
    torch.manual_seed(0)
    codes, rest = split_state(SpectralAutoencoder(6, latent=8, n_codes=10))
    far = Source("far", BandSet.regular(900, 1000, 20), 10, {})
    write(root / "far", codes, {"far": rest}, [far], 8)
    with pytest.raises(BandsError, match="render"):
        run("sample", root / "far", "--out", root / "x")
    assert not (codebook / "priors").exists()


class Spectra:
    """A data set of one-row scenes made of given spectra."""

    name, info = "spectra", {}
    bands = BandSet.regular(400, 600, 100)

    def __init__(self, *scenes: np.ndarray) -> None:
        self.cubes = {f"s{i}": s.T[:, None, :].astype(np.float32) for i, s in enumerate(scenes)}

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def scenes(self, split: str) -> list[str]:
        return sorted(self.cubes)

    def load(self, split: str, scene: str) -> Scene:
        return Scene(scene, self.cubes[scene], self.cubes[scene])

    def fingerprint(self) -> str:
        return "spectra"


def test_distances_are_those_computed_by_hand() -> None:
    reference = np.array([[1.0, 0.0], [1.0, 2.0]])
    other = np.array([[2.0, 0.0], [2.0, 4.0], [0.0, 0.0]])
    found = distances(reference, other)
    # means (1, 1) and (4/3, 4/3)
    assert found["mean_rmse"] == pytest.approx(1 / 3)
    # covariances [[0, 0], [0, 2]] and [[4/3, 4/3], [4/3, 16/3]]
    squares = (4 / 3) ** 2 * 3 + (16 / 3 - 2) ** 2
    assert found["covariance"] == pytest.approx(math.sqrt(squares) / 2)
    # sorted values of band 1: 1 1 and 0 2 2; of band 2: 0 2 and 0 0 4
    assert found["wasserstein_bands"] == pytest.approx([1.0, (0 * 3 + 2 * 1 + 2 * 2) / 6])
    # other's directions 0 and 63.4 degrees are those of the reference, zeros do not count
    assert found["fidelity"] == pytest.approx(0, abs=1e-5)
    assert found["coverage"] == pytest.approx(0, abs=1e-5)
    assert found["angle_wasserstein"] == pytest.approx(0, abs=1e-5)


def test_fidelity_sees_strange_spectra_and_coverage_missing_ones() -> None:
    axis, diagonal = np.array([[1.0, 0.0]] * 3), np.array([[1.0, 1.0]])
    both = np.concatenate([axis, diagonal])
    other = np.array([[2.0, 0.0], [2.0, 0.1]])
    missing, strange = distances(both, other), distances(other, both)
    tilt = math.degrees(math.atan(0.05))
    assert missing["fidelity"] == strange["coverage"] == pytest.approx(tilt / 2)
    assert missing["coverage"] == strange["fidelity"] == pytest.approx((45 - tilt) / 4)
    with pytest.raises(InputError, match="zeros"):
        nearest_angles(np.zeros((2, 3)), axis @ np.ones((2, 3)))


def test_equal_spectra_stand_where_halves_of_real_ones_do() -> None:
    rng = np.random.default_rng(0)
    scenes = [rng.uniform(0.2, 1, (3,)) * rng.uniform(0.5, 1, (200, 3)) for _ in range(8)]
    report = judge(Spectra(*scenes), Spectra(*scenes), "train", pixels=300, splits=6)  # type: ignore[arg-type]
    rows = {row["distance"]: row for row in report["distances"]}
    assert set(rows) == {
        "mean_rmse",
        "covariance",
        "wasserstein",
        "angle_wasserstein",
        "fidelity",
        "coverage",
    }
    assert all(row["ratio"] < 1.2 for row in rows.values()), "half of these are the reference's own"
    dim = judge(Spectra(*(s * 0.2 for s in scenes)), Spectra(*scenes), "train", pixels=300, splits=6)  # type: ignore[arg-type]
    worse = {row["distance"]: row for row in dim["distances"]}
    assert worse["mean_rmse"]["ratio"] > 3 and worse["wasserstein"]["ratio"] > 3
    assert worse["fidelity"]["ratio"] < 1.2, "angles do not see brightness"
    assert sum(report["angle_histogram"]["real"]) == pytest.approx(1)


def test_the_command_judges_samples_against_their_source(codebook: Path, root: Path) -> None:
    words = ("--count", 2, "--size", 16, "--prior-steps", 1, "--data-root", root)
    run("sample", codebook, "--out", root / "a", *words)
    told = run(
        "judge", root / "a", "--against", "cave", "--pixels", 50, "--data-root", root, "--json"
    ).stdout
    report = json.loads(told)
    assert report["synthetic"] == "2 cubes" and report["real"] == "cave/train"
    assert len(report["wasserstein_bands"]["synthetic"]) == 31
    assert all(row["synthetic"] > 0 and row["real"] > 0 for row in report["distances"])
