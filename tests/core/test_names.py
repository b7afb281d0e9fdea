"""Model names: their forms, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsrzoo.errors import HsrzooError, UnknownNameError, unknown_name
from hsrzoo.models.loading import load
from hsrzoo.models.names import ModelName, parse_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mcga-s2", ModelName("zoo", arch="mcga-s2")),
        ("mcga-s2.cave", ModelName("zoo", arch="mcga-s2", tag="cave")),
        ("linear.indian-pines", ModelName("zoo", arch="linear", tag="indian-pines")),
        ("mst-plus-plus:reference", ModelName("zoo", arch="mst-plus-plus", variant="reference")),
        ("linear.cave:plain", ModelName("zoo", arch="linear", tag="cave", variant="plain")),
        ("onnx:out/a.onnx", ModelName("onnx", path=Path("out/a.onnx"))),
        ("local-dir:runs/a b", ModelName("local-dir", path=Path("runs/a b"))),
        ("hf-hub:org/repo", ModelName("hf-hub", repo="org/repo")),
        ("hf-hub:org/repo@v1.0", ModelName("hf-hub", repo="org/repo", revision="v1.0")),
        ("hf-hub:org/repo:permuted", ModelName("hf-hub", repo="org/repo", variant="permuted")),
        ("hf-hub:o/r@refs/pr/1:v", ModelName("hf-hub", repo="o/r", revision="refs/pr/1", variant="v")),
    ],
)
def test_forms_parse_and_print_back(text: str, expected: ModelName) -> None:
    assert parse_name(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "mcga-s2.", "MCGA", "../../etc/passwd", "mcga-s2.../x", "mcga-s2.a/b", "a\nb", "a b",
        "local-dir:", "local-dir:~no-such-user-here/x", "hf-hub:", "hf-hub:repo", "hf-hub:../..",
        "hf-hub:org/repo@", "hf-hub:org/repo@../x", "hf-hub:org/repo:",
        "hf-hub:org/repo:../x", "hf-hub:a/b/c", "linear:", "linear:x.cave",
        "linear:x:y", "onnx:", "mcga-s2\x00",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UnknownNameError, match="is not a model name"):
        parse_name(text)


def test_a_bare_path_is_pointed_to_local_dir() -> None:
    with pytest.raises(UnknownNameError, match=r"write local-dir:runs/mine"):
        parse_name("runs/mine")


def test_an_address_on_the_hub_is_pointed_to_hf_hub() -> None:
    with pytest.raises(
        UnknownNameError, match=r"local-dir:org/net-cave, for .* the Hub hf-hub:org/net-cave"
    ):
        parse_name("org/net-cave")


def test_names_are_text() -> None:
    with pytest.raises(UnknownNameError, match="local-dir:PATH"):
        parse_name(Path("runs"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mine", "linear.mine", "mine.onnx", "linear.onnx"])
def test_a_folder_or_exported_file_with_the_form_of_a_name_is_pointed_to(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scheme = "onnx" if name.endswith(".onnx") else "local-dir"
    with pytest.raises(HsrzooError, match=r"no model named|no trained weights") as found:
        load(name)
    assert "of that name" not in str(found.value)
    Path(name).write_bytes(b"") if scheme == "onnx" else Path(name).mkdir()
    with pytest.raises(HsrzooError, match=f"of that name write {scheme}:{name}"):
        load(name)


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse_name("local-dir:~/w").path == Path("/home/somebody/w")


def test_unknown_names_offer_near_ones_and_parts() -> None:
    known = ["mcga-s1", "mcga-s2", "mst-plus-plus", "linear"]
    assert "Nearest: linear." in str(unknown_name("model", "liner", known))
    assert "Nearest: mst-plus-plus." in str(unknown_name("model", "MST", known))
    assert "Known: linear, mcga-s1, mcga-s2, mst-plus-plus." in str(unknown_name("model", "zzz", known))
    assert "Nearest: mst-plus-plus." in str(unknown_name("model", "MST plus", known))
    assert "Nearest: ARAD_1K_0912." in str(unknown_name("scene", "arad_1k_912", ["ARAD_1K_0912", "x"]))
    assert "Known: none." in str(unknown_name("model", "zzz", []))
