"""The registry: metadata first, broken and duplicate plugins, plugin files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from forks import Forks
from hsrzoo import registry
from hsrzoo import spec as specs
from hsrzoo.errors import PluginError, UnknownNameError
from hsrzoo.registry import MODELS, Registry
from hsrzoo.spec import MetricSpec, ModelSpec, resolve
from hsrzoo.utils.entry_points import entry_points_of, installed

Distribution = Callable[..., Path]

SPEC_SOURCE = """
from hsrzoo.spec import ModelSpec
SPEC = ModelSpec(name={name!r}, build="nowhere:build", summary="s", source="t")
"""


def forget() -> None:
    """Let the metadata of packages be read again."""
    installed.cache_clear()
    entry_points_of.cache_clear()


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a fake installed distribution on sys.path, with modules and entry points."""

    def make(dist: str, group: str, modules: dict[str, str], **entries: str) -> Path:
        root = tmp_path / f"site-{dist}"
        info = root / f"{dist}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        lines = "\n".join(f"{name.replace('_', '-')} = {value}" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        for name, source in modules.items():
            (root / f"{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(str(root))
        forget()
        return root

    yield make
    forget()


@pytest.fixture
def models() -> Registry[ModelSpec]:
    """An empty registry of its own group, so that the real one stays untouched."""
    return Registry("model", "hsrzoo.test_models", ModelSpec)


def spec(name: str) -> ModelSpec:
    return ModelSpec(name=name, build="nowhere:build", summary="s", source="t")


def test_the_metadata_of_packages_are_read_once_for_all_groups(
    distribution: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution("two-groups", "hsrzoo.test_models", {}, one="nowhere:ONE")
    assert list(entry_points_of("hsrzoo.test_models")) == ["one"]
    monkeypatch.setattr(metadata, "distributions", None)
    assert "linear" in entry_points_of("hsrzoo.models") and entry_points_of("hsrzoo.no-such-group") == {}


def test_names_are_listed_without_importing(models: Registry, distribution: Distribution) -> None:
    distribution(
        "one", models.group, {"boom_mod": "raise SystemError('imported')"}, far_away="boom_mod:SPEC"
    )
    assert models.names() == ["far-away"]
    assert "far-away" in models and "near" not in models
    assert models.origin("far-away") == "one (boom_mod:SPEC)"
    assert "boom_mod" not in sys.modules


def test_a_value_is_imported_when_asked_for(models: Registry, distribution: Distribution) -> None:
    distribution("one", models.group, {"good_mod": SPEC_SOURCE.format(name="good")}, good="good_mod:SPEC")
    assert models.get("good").name == "good"
    assert models.get("good") is models.get("good")


def test_what_others_need_for_a_plugins_name_is_told(
    models: Registry, distribution: Distribution, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    distribution("my-nets", models.group, {"reg_alone": SPEC_SOURCE.format(name="m")}, m="reg_alone:SPEC")
    assert models.requires("m") == "pip install my-nets==1.0"
    models.add("mine", spec("mine"), origin=str(tmp_path / "tiny_net.py"))
    assert models.requires("mine") is None, "added by hand"
    monkeypatch.setitem(registry._files, tmp_path / "tiny_net.py", None)
    assert models.requires("mine") == "--plugin tiny_net.py"
    assert (
        models.program("mine") == f"hsrzoo --plugin {tmp_path}/tiny_net.py"
        and models.program("m") == "hsrzoo"
    )
    monkeypatch.chdir(tmp_path)
    assert models.program("mine") == "hsrzoo --plugin tiny_net.py"
    assert models.requires("nobodys") is None and MODELS.requires("mst-plus-plus") is None


def test_a_broken_plugin_breaks_only_itself(models: Registry, distribution: Distribution) -> None:
    distribution("bad", models.group, {"bad_mod": "1 / 0"}, bad="bad_mod:SPEC")
    distribution("good", models.group, {"fine_mod": SPEC_SOURCE.format(name="fine")}, fine="fine_mod:SPEC")
    with pytest.warns(
        UserWarning, match=r"'bad' cannot be loaded.*ZeroDivisionError.*bad \(bad_mod:SPEC\)"
    ):
        assert [name for name, _ in models.working()] == ["fine"]
    with pytest.raises(PluginError, match="uninstall"):
        models.get("bad")


def test_two_distributions_with_one_name_are_an_error_naming_both(
    models: Registry, distribution: Distribution
) -> None:
    distribution("first", models.group, {"mod_a": SPEC_SOURCE.format(name="same")}, same="mod_a:SPEC")
    distribution("second", models.group, {"mod_b": SPEC_SOURCE.format(name="same")}, same="mod_b:SPEC")
    with pytest.raises(PluginError) as caught:
        models.get("same")
    assert "first (mod_a:SPEC)" in str(caught.value) and "second (mod_b:SPEC)" in str(caught.value)
    assert models.names() == ["same"]


@pytest.mark.parametrize(
    ("source", "got"), [("SPEC = 3", "int"), (SPEC_SOURCE.format(name="other"), "'other'")]
)
def test_an_entry_point_must_hold_a_spec_of_its_name(
    models: Registry, distribution: Distribution, source: str, got: str
) -> None:
    distribution("one", models.group, {"wrong_mod": source}, wrong="wrong_mod:SPEC")
    with pytest.raises(PluginError, match=f"ModelSpec named 'wrong'.*{got}"):
        models.get("wrong")


def test_adding_a_wrong_type_or_a_taken_name_changes_nothing(models: Registry) -> None:
    models.add("mine", spec("mine"), "here")
    before = models.get("mine")
    with pytest.raises(PluginError, match="here and there"):
        models.add("mine", spec("mine"), "there")
    with pytest.raises(PluginError, match=r"ModelSpec.*MetricSpec"):
        models.add("m", MetricSpec("m", "a:b", "1", "", "lower", ("m",)), "there")  # type: ignore[arg-type]
    with pytest.raises(PluginError, match=r"ModelSpec named 'alias'.*ModelSpec 'mine'"):
        models.add("alias", spec("mine"), "there")
    assert models.names() == ["mine"] and models.get("mine") is before and models.origin("mine") == "here"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"build": None}, "build = None"), ({"build": 3}, "build = 3"), ({"source": 3}, "source = 3"),
        ({"input": None}, "input = None"), ({"recipe": None}, "recipe = None"),
        ({"arguments": None}, "arguments = None"), ({"tags": None}, "tags = None"),
        ({"recipes": []}, r"recipes = \[\]"), ({"couples_batch": "no"}, "couples_batch = no"),
        ({"input": replace(specs.RgbInput(), normalise="x")}, r"input.normalise = RgbInput"),  # type: ignore
        ({"recipe": replace(specs.Recipe(), lr="x")}, r"recipe.lr = Recipe"),  # type: ignore
    ],
)  # fmt: skip
def test_a_spec_with_a_field_of_another_type_is_refused(
    models: Registry[ModelSpec], changes: dict[str, object], field: str
) -> None:
    with pytest.raises(PluginError, match=f"a field of another type.*Got {field}"):
        models.add("n", replace(spec("n"), **changes), origin="here")  # type: ignore[arg-type]
    models.add("n", replace(spec("n"), tags=["a list"]), origin="here")  # type: ignore[arg-type]


def test_a_name_is_text(models: Registry[ModelSpec]) -> None:
    with pytest.raises(PluginError, match="a field of another type"):
        models.add(3, replace(spec("n"), name=3), origin="here")  # type: ignore[arg-type]
    assert models.names() == []


def test_unknown_names_offer_the_nearest(models: Registry) -> None:
    models.add("mcga-s2", spec("mcga-s2"), "here")
    with pytest.raises(UnknownNameError, match=r"no model named 'mcga-s3'\. Nearest: mcga-s2"):
        models.get("mcga-s3")
    with pytest.raises(UnknownNameError):
        models.origin("mcga-s3")


def test_code_addresses_resolve_and_fail_with_the_address() -> None:
    assert resolve("hsrzoo.models.names:parse_name").__name__ == "parse_name"
    assert resolve(len) is len
    for address in ("hsrzoo.nowhere:x", "hsrzoo.models.names:nothing", ""):
        with pytest.raises(PluginError, match=r"package\.module:function"):
            resolve(address)


# ---- plugin files, each in a process of its own because they stay loaded


@pytest.fixture
def run_python(forks: Forks, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
        always = f"import warnings; warnings.simplefilter('always')\n{code}"
        return forks.python("-c", always, cwd=tmp_path, env=env)

    return run


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_files_of_the_environment_are_loaded_once_and_broken_ones_warned_about(
    run_python, tmp_path: Path
) -> None:
    good = write(
        tmp_path / "good.py", "import sys; sys.stderr.write('ran ')" + SPEC_SOURCE.format(name="g")
    )
    bad = write(tmp_path / "bad.py", "import nowhere_at_all")
    code = "from hsrzoo.registry import MODELS as M; M.names(); print('g' in M, M.origin('g'))"
    done = run_python(code, HSRZOO_PLUGINS=os.pathsep.join([str(bad), str(good), str(good)]))
    assert done.stdout.split() == ["True", str(good)], done.stderr
    assert done.stderr.count("ran ") == 1
    assert done.stderr.count("ModuleNotFoundError") == 1


def test_a_plugin_that_asks_for_names_while_imported_does_not_recurse(run_python, tmp_path: Path) -> None:
    source = "from hsrzoo.registry import MODELS\nMODELS.names()\n" + SPEC_SOURCE.format(name="curious")
    path = write(tmp_path / "curious.py", source)
    done = run_python(
        "from hsrzoo.registry import MODELS as M; print('curious' in M)", HSRZOO_PLUGINS=str(path)
    )
    assert done.stdout.strip() == "True", done.stderr


LOAD = """
import sys
from pathlib import Path
from hsrzoo.registry import MODELS, METRICS
from hsrzoo.registry import load_plugin_file
from hsrzoo.errors import PluginError
before = MODELS.names(), METRICS.names()
try:
    load_plugin_file(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(PATH))
    print("loaded", *sorted({*MODELS.names(), *METRICS.names()} - {*before[0], *before[1]}))
except PluginError as error:
    print("refused", "unchanged" if before == (MODELS.names(), METRICS.names()) else "CHANGED", error)
"""


@pytest.fixture
def load_file(run_python) -> Callable[[Path], str]:
    def load(path: Path) -> str:
        done = run_python(LOAD.replace("PATH", repr(str(path))))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return load


def test_a_file_registers_all_its_specs(load_file, tmp_path: Path) -> None:
    source = SPEC_SOURCE.format(name="a") + "ALSO = SPEC\n"
    source += "from hsrzoo.spec import MetricSpec\nM = MetricSpec('b', 'x:y', '1', '', 'lower', ('b',))\n"
    assert load_file(write(tmp_path / "p.py", source)) == "loaded a b"


def test_imported_specs_stay_their_owners(load_file, tmp_path: Path) -> None:
    source = "from dataclasses import replace\nfrom hsrzoo_baselines.mst_plus_plus import SPEC as THEIRS\n"
    source += "MINE = replace(THEIRS, name='mst-mine')\n"
    assert load_file(write(tmp_path / "p.py", source)) == "loaded mst-mine"


@pytest.mark.parametrize(
    ("source", "word"),
    [
        (SPEC_SOURCE.format(name="fresh") + SPEC_SOURCE.format(name="linear").replace("SPEC =", "B ="),
         "'linear'"),
        (SPEC_SOURCE.format(name="x") + SPEC_SOURCE.format(name="x").replace("SPEC =", "B ="), "twice"),
        ("x = 1", "registers nothing"),
        ("syntax error here", "SyntaxError"),
        ("raise RuntimeError('no')", "RuntimeError: no"),
    ],
)  # fmt: skip
def test_a_refused_file_registers_nothing(load_file, tmp_path: Path, source: str, word: str) -> None:
    answer = load_file(write(tmp_path / "p.py", source))
    assert answer.startswith("refused unchanged") and word in answer


def test_missing_and_foreign_files_are_refused(load_file, tmp_path: Path) -> None:
    assert "missing" in load_file(tmp_path / "none.py")
    assert "Python file" in load_file(write(tmp_path / "plugin.txt", "x"))


def test_every_public_name_of_the_specs_is_one_of_them() -> None:
    own = [name for name in specs.__all__ if getattr(specs, name, None) is None]
    assert own == [] and not {"Dataset", "Path"} & set(specs.__all__)


def test_the_former_name_of_the_module_has_the_same_registries() -> None:
    from hsrzoo import registries, registry

    assert registries.MODELS is registry.MODELS and registries.DATASETS is registry.DATASETS
