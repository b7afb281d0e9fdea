"""``hsrzoo list`` and the printing of tables."""

from __future__ import annotations

import csv
import io
import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from files_as_modules import SCRIPTS, import_file
from hsrzoo.bands import BandSet
from hsrzoo.cli.list import SCORES, SIZE, SPEED
from hsrzoo.cli.main import cli
from hsrzoo.cli.output import print_table, steps, to_json
from hsrzoo.errors import UnknownNameError
from hsrzoo.models.complexity import Size, size_of
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec
from hsrzoo.zoo import GENERAL, PHOTOGRAPHS, TABLE, read_zoo, use_of, year_of
from one_layer import ONE_LAYER

PLUGIN = (
    ONE_LAYER
    + """
SPEC = ModelSpec(name="plugin-net", build=Net, summary="One layer", source="A test", licence="CC0")
"""
)


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return path


def test_list_gives_models_and_patterns_filter_them(run_hsrzoo) -> None:
    found = json.loads(run_hsrzoo("list", "mcga-*", "--json").stdout)
    assert [row["name"] for row in found] == ["mcga-s2", "mcga-plus", "mcga-s1", "mcga-s3", "mcga-s4"]


def listed(*arguments: str) -> Result:
    """In this process, which imports torch only for networks that the package does not know."""
    return CliRunner().invoke(cli, ["list", *arguments])


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("mst-p",), ["mst-plus-plus"]),
        (("plus",), ["mcga-plus", "mst-plus-plus", "hscnn-plus"]),
        (("nothing-*",), []),
        (("mst*", "--sort", "parameters"), ["mst-plus-plus", "mst-l"]),
        (("*.cave", "--pretrained", "--sort", "ms"), ["mean-spectrum.cave", "linear.cave", "poly.cave"]),
    ],
)
def test_a_part_of_a_name_or_a_pattern_chooses_and_rank_or_a_column_sorts(
    arguments: tuple[str, ...], names: list[str]
) -> None:
    found = [row["name"] for row in json.loads(listed(*arguments, "--json").stdout)]
    assert found[:3] == names


@pytest.mark.parametrize(
    ("arguments", "found", "said"),
    [
        (["cameras", "5d-mark-iv"], ["canon-eos-5d-mark-iv"], ""),
        (["cameras", "*-5d-mark-iv"], ["canon-eos-5d-mark-iv"], ""),
        (["cameras", "nikon-d5101"], [], "No name matches nikon-d5101; nearest: nikon-d5100"),
        (["list", "MCGA-p"], ["mcga-plus"], ""),
        (["list", "mgca-s2"], [], "No name matches mgca-s2; nearest: mcga-s2"),
        (["list", "--pretrained", "zzz*"], [], "No name matches zzz*\n"),
        (["list", "--metrics", "sma"], [], "No name matches sma; nearest: sam"),
    ],
)
def test_patterns_mean_the_same_in_all_lists_and_no_match_is_said(
    run_hsrzoo, arguments: list[str], found: list[str], said: str
) -> None:
    done = run_hsrzoo(*arguments, "--json")
    assert [row["name"] for row in json.loads(done.stdout)] == found
    assert done.stderr.startswith(said) and bool(done.stderr) == bool(said)


def test_columns_are_chosen_by_name_and_empty_where_nothing_was_measured() -> None:
    shown = listed("mcga-s2", "--columns", "name, ms,licence")
    head, (name, ms, licence) = (line.split() for line in shown.stdout.splitlines())
    assert head == ["name", "ms", "licence"] and (name, licence) == ("mcga-s2", "MIT")
    assert ms == f"{read_zoo().weights['mcga-s2.cave']['ms']:.0f}"
    assert "AMD EPYC, 2 threads" in shown.stderr and "RMSE" not in shown.stderr
    assert listed("awan", "--columns", "name,ms").stdout.split() == ["name", "ms", "awan"]
    wrong = listed("--columns", "name,licens")
    assert isinstance(wrong.exception, UnknownNameError) and "licence" in str(wrong.exception)
    assert listed("--metrics", "--sort", "ms").exit_code == 2


def test_the_tables_of_models_fit_100_columns(run_hsrzoo) -> None:
    for shown in (run_hsrzoo("list"), listed("--pretrained")):
        assert max(map(len, shown.stdout.splitlines())) <= 100
        assert "rank   RMSE SAM °" in shown.stdout and "scenes of cave/valid" in shown.stderr


@pytest.mark.parametrize(
    ("source", "year"),
    [
        ("Li, CVPRW 2020, arXiv:2005.09305", 2020), ("Wang, arXiv:2405.07777; https://x.org", 2024),
        ("doi:10.1016/j.b.2024.1, 2023", 2024), ("https://x.org/2021/a", None), ("Least squares", None),
    ],
)  # fmt: skip
def test_the_year_is_that_of_the_paper(source: str, year: int | None) -> None:
    assert year_of(source) == year


@pytest.mark.skipif(not (SCRIPTS.parent / "records").is_dir(), reason="needs a checkout")
def test_the_carried_figures_are_those_of_specs_and_committed_rows() -> None:
    script = import_file(SCRIPTS / "export_zoo.py")
    carried = TABLE.read_text(encoding="utf-8")
    assert script.text(script.table()) == carried, "run python scripts/export_zoo.py"


@pytest.mark.parametrize(
    ("option", "name"), [("--datasets", "cave"), ("--metrics", "sam"), ("--perturbations", "mixed-patch")]
)
def test_list_gives_the_other_kinds(run_hsrzoo, option: str, name: str) -> None:
    assert name in {row["name"] for row in json.loads(run_hsrzoo("list", option, "--json").stdout)}


def test_the_table_is_data_on_stdout(run_hsrzoo) -> None:
    done = run_hsrzoo("list", "lin*", "--columns", "name,from")
    assert "linear" in done.stdout and "floors:LINEAR" in done.stdout and done.stderr == ""


def test_plugin_files_appear_in_the_list_with_their_origin(run_hsrzoo, plugin: Path) -> None:
    plugin.write_text(
        "from hsrzoo.spec import ModelSpec\n"
        "SPEC = ModelSpec(name='plugin-net', build='x:y', summary='', source='')\n"
    )
    done = run_hsrzoo("--plugin", str(plugin), "list", "plugin-*", "--json")
    own = {"name": "plugin-net", "weights": "", "from": str(plugin), "licence": "none stated", "use": ""}
    unknown = dict.fromkeys((*SCORES, *SPEED, *SIZE, "year"))  # there is no x:y to build
    assert json.loads(done.stdout) == [{**own, **unknown}]
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("Warning: The parameters of plugin-net cannot be counted: The code 'x:y'")


def test_a_broken_file_of_the_environment_warns_and_the_list_goes_on(run_hsrzoo, plugin: Path) -> None:
    plugin.write_text("1 / 0")
    done = run_hsrzoo("list", "linear", "--json", env={"HSRZOO_PLUGINS": str(plugin)})
    assert done.returncode == 0 and json.loads(done.stdout)[0]["name"] == "linear"
    assert done.stderr.startswith("Warning: HSRZOO_PLUGINS:") and done.stderr.count("\n") == 1


SIZES = {
    "agdnet": 172_391, "agdnet-9": 386_136, "awan": 4_039_425, "edsr": 2_419_999, "gmsr": 44_980,
    "hdnet": 2_659_243, "hinet": 5_223_688, "hrnet": 31_704_863, "hscnn-plus": 4_645_504,
    "hprn": 14_892_975, "hsiformer": 2_851_493, "hysat": 1_408_790, "msfn": 2_480_934,
    "ssrnet": 387_779, "ssthyper": 1_393_881,
    "mirnet": 3_749_356, "mprnet": 3_619_003, "mst-l": 2_450_978, "mst-plus-plus": 1_619_625,
    "r3st": 1_643_619, "restormer": 15_108_705,
    "linear": 0, "mean-spectrum": 0, "poly": 0,
}  # fmt: skip
"""Architecture -> parameters at 31 bands of the original network; floors have none."""


def test_json_has_the_parameters_of_every_network_and_a_row_for_each_model(run_hsrzoo) -> None:
    rows = {row["name"]: row for row in json.loads(run_hsrzoo("list", "--json").stdout)}
    assert {name: rows[name]["parameters"] for name in SIZES} == SIZES
    assert rows["linear"]["buffers"] == 3 * 31 and rows["mcga-s2"]["buffers"] > 0
    assert rows["hrnet"]["frozen"] == 195_840 and rows["mst-plus-plus"]["frozen"] == 0
    # not those of this process, to which other tests add their own
    assert sorted(rows) == sorted(entry.name for entry in entry_points(group="hsrzoo.models"))


def test_weights_that_differ_from_their_architecture_have_figures_and_a_use_of_their_own(
    run_hsrzoo,
) -> None:
    done = run_hsrzoo("list", "mcga-plus", "--pretrained", "--json")
    rows = {row["name"].partition(".")[2]: row for row in json.loads(done.stdout)}
    held = {tag: (row["parameters"], row["buffers"]) for tag, row in rows.items()}
    # mcga-s2 and pixel-mlp: with normalised features in one, with a pixel-mlp more in the generalist
    assert held == {"cave": (745_159, 24_638), "general": (744_583 + 6_588, 24_638 + 31)}
    assert rows["general"]["gmac"] > rows["cave"]["gmac"]
    shown = {row["use"]: tag for tag, row in rows.items()}
    assert shown == {MODELS.get("mcga-plus").use: "cave", GENERAL: "general"}


@pytest.mark.parametrize(("extra", "use"), [([], "indoors"), (["a"], "indoors"), (["a", "b"], GENERAL)])
def test_weights_of_several_data_sets_are_for_other_scenes(extra: list[str], use: str) -> None:
    spec = ModelSpec("net", "x:y", summary="s", source="t", use="indoors")
    assert use_of(spec, {"dataset": "a", "extra": [{"dataset": name} for name in extra]}) == use


def test_parameters_of_a_plugin_are_counted(run_hsrzoo, plugin: Path) -> None:
    done = run_hsrzoo("--plugin", str(plugin), "list", "plugin-net", "--parameters")
    assert "parameters" in done.stdout and "124" in done.stdout.splitlines()[1].split()
    assert "frozen" in done.stdout and "buffers" in done.stdout
    refused = run_hsrzoo("list", "--metrics", "--parameters")
    assert refused.returncode == 2 and "goes with architectures only" in refused.stderr


class Shares(nn.Module):
    """One tensor under two names, a frozen one and a buffer."""

    def __init__(self, bands: BandSet) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(4, 5)
        self.second.weight = self.first.weight
        self.second.bias.requires_grad_(False)
        self.register_buffer("codes", torch.zeros(7))


class LooksAtValues(Shares):
    """Cannot be built without values."""

    def __init__(self, bands: BandSet) -> None:
        super().__init__(bands)
        self.scale = float(torch.ones(3).sum())


@pytest.mark.parametrize("build", [Shares, LooksAtValues])
def test_shared_tensors_count_once_and_buffers_apart(build: type[nn.Module], tiny_bands: BandSet) -> None:
    spec = ModelSpec("shares", build, summary="s", source="t")
    assert size_of(spec, tiny_bands) == Size(parameters=20 + 5 + 5, frozen=5, buffers=7)


def test_counting_makes_no_tensors(tiny_bands: BandSet) -> None:
    def build(bands: BandSet) -> nn.Module:
        return nn.Linear(1 << 20, 1 << 20)  # 4 TiB

    assert (
        size_of(ModelSpec("large", build, summary="s", source="t"), tiny_bands).parameters == 2**40 + 2**20
    )


ROWS = [{"a": "x [red]", "b": 1.23456, "c": None}, {"a": "y, z", "b": float("nan"), "c": True}]


def test_json_is_strict_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, ["a"], as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"a": "x [red]", "b": 1.23456, "c": None},
        {"a": "y, z", "b": None, "c": True},
    ]
    assert json.loads(to_json({"x": [float("inf"), (1,)], 2: Path("p")})) == {"x": [None, [1]], "2": "p"}


def test_csv_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, {"a": "A", "b": "B"}, as_csv=True)
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [
        ["a", "b"], ["x [red]", "1.23456"], ["y, z", "nan"]
    ]  # fmt: skip


def test_tables_keep_brackets_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([*ROWS, {"a": "w" * 300}], {"a": "Name", "b": "Value", "c": "Flag"}, title="T [b]")
    out = capsys.readouterr().out
    assert "x [red]" in out and "T [b]" in out and "w" * 300 in out
    assert "1.235" in out and "yes" in out and "Value" in out


def test_list_names_the_recommended_model(run_hsrzoo) -> None:
    advice = read_zoo().recommended[PHOTOGRAPHS]["model"]
    told = f"Recommended for photographs: {advice} ("
    assert told in " ".join(run_hsrzoo("list", "--pretrained").stderr.split())
    assert told not in " ".join(run_hsrzoo("list", "hscnn").stderr.split())


@pytest.mark.parametrize(
    ("total", "lines"),
    [(1, []), (3, ["1/3", "2/3", "3/3"]), (25, [f"{n}/25" for n in (3, 5, 8, 10, 13, 15, 18, 20, 23, 25)])],
)
def test_progress_in_a_log_is_ten_lines_at_most(total: int, lines: list[str], capsys) -> None:
    with steps("scored", total) as advance:
        for n in range(total):
            advance(f"a{n} [bf16]")
    lines_shown = capsys.readouterr().err.splitlines()
    assert lines_shown == [f"scored {n}: a{int(n.partition('/')[0]) - 1} [bf16]" for n in lines]
