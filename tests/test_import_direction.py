"""Imports go one way and there is no cycle; proven by reading every import statement."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "hsrzoo": "hsrzoo",
    "hsrzoo_mcga": "hsrzoo_mcga",
    "hsrzoo_baselines": "baselines/hsrzoo_baselines",
    "hsrzoo_benchmark": "benchmark/hsrzoo_benchmark",
}
LAYERS = [
    {"errors", "bands", "camera", "colour", "extras", "spec", "layers", "utils"},
    {"registry", "registries", "results", "zoo", "io", "hub"},
    {"datasets", "metrics", "perturb"},
    {"models", "uncertainty"},
    {"prediction", "training", "export"},
    {"contract", "viewer"},
    {"cli"},
    {"__main__", "onnx_runtime"},
]
"""Parts of the core from the bottom up: a part imports from its own layer and those below."""
LAZY = {"timm", "torchvision", "accelerate", "colour", "spectral", "tensorly"}


def modules() -> dict[str, Path]:
    """Dotted module name -> file, for all our packages."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(module: str, *, top_level_only: bool = False, typing: bool = False) -> Iterator[str]:
    """Absolute names that a module imports when it runs; ``typing``: those for type checkers too."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    waiting: list[ast.AST] = [parsed(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield whole if whole in MODULES else source
        elif is_type_checking(node) and not typing:
            waiting.extend(node.orelse)  # type: ignore[attr-defined]
        elif not (top_level_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
            waiting.extend(ast.iter_child_nodes(node))


def layer(module: str) -> int | None:
    """The layer of a module of the core; None for the package itself, which only forwards names."""
    part = module.split(".")[1] if "." in module else None
    if part is None:
        return None
    found = [i for i, parts in enumerate(LAYERS) if part in parts]
    assert found, f"hsrzoo.{part} has no layer: give it one in LAYERS"
    return found[0]


def test_the_walk_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        "import a.b\nfrom c import d\nfrom . import sibling\nfrom ..up import x\n"
        "if TYPE_CHECKING:\n    import typed\nelse:\n    import untyped\n"
        "def f():\n    import inner\n"
    )
    monkeypatch.setitem(MODULES, "hsrzoo.io.m", path)
    run = {"a.b", "c", "hsrzoo.io", "hsrzoo.up", "untyped", "inner"}
    assert set(imports("hsrzoo.io.m")) == run
    assert set(imports("hsrzoo.io.m", typing=True)) == {*run, "typed"}
    assert "inner" not in set(imports("hsrzoo.io.m", top_level_only=True))


def test_packages_import_the_core_and_themselves() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        for name in imports(module, typing=True)
        if name.split(".")[0] in PACKAGES and name.split(".")[0] not in ("hsrzoo", module.split(".")[0])
    ]
    assert wrong == []


def test_the_core_does_not_name_its_plugins_in_strings_either() -> None:
    plugins = tuple(set(PACKAGES) - {"hsrzoo"})
    wrong = [
        f"{module}: {node.value}"
        for module, path in MODULES.items()
        if module.split(".")[0] == "hsrzoo"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(plugins)
    ]
    assert wrong == []


def test_the_core_is_built_in_layers() -> None:
    wrong = []
    for module in MODULES:
        own = layer(module) if module.split(".")[0] == "hsrzoo" else None
        for name in imports(module, typing=True) if own is not None else ():
            other = layer(name) if name.startswith("hsrzoo.") else None
            if other is not None and other > own:  # type: ignore[operator]
                wrong.append(f"{module} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("typing", [False, True], ids=["at run time", "for type checkers too"])
def test_no_module_imports_itself_through_others(typing: bool) -> None:
    graph = {m: {n for n in imports(m, typing=typing) if n in MODULES and n != m} for m in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_a_module_lies_three_folders_deep_at_most_and_a_folder_is_short() -> None:
    """Lists of networks, data sets and commands may be longer: one file each."""
    lists = {"hsrzoo_baselines", "hsrzoo.datasets", "hsrzoo.cli"}
    counts: dict[str, int] = {}
    for module, path in MODULES.items():
        assert len(module.split(".")) <= 4, module
        if path.name != "__init__.py":
            parent = module.rpartition(".")[0]
            counts[parent] = counts.get(parent, 0) + 1
    assert {name: n for name, n in counts.items() if n > 20 and name not in lists} == {}


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        for name in imports(module, top_level_only=True)
        if name.split(".")[0] in LAZY
    ]
    assert wrong == []


def test_nothing_prints_past_the_output_module() -> None:
    wrong = [
        f"{module}:{node.lineno}"
        for module, path in MODULES.items()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert wrong == []
