"""Cards: what is ours in them is replaced, what is the owner's stays."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

import result_rows
from hsrzoo.errors import FormatError
from hsrzoo.hub import card as cards
from hsrzoo.hub.card import BEGIN, END, CodebookLink, merge
from hsrzoo.hub.evaluation import Benchmark, evaluations
from hsrzoo.hub.figure import error_figure
from hsrzoo.hub.front_matter import change, join, parse, split
from hsrzoo.hub.listing import figures_of
from hsrzoo.hub.rows import Figure
from hsrzoo.results import ScoreRow
from hsrzoo.zoo import read_zoo

MANAGED: dict[str, Any] = {"library_name": "hsrzoo", "tags": ["hsrzoo", "poly"], "license": "mit"}
CONFIG: dict[str, Any] = {
    "architecture": "poly",
    "bands": {"centres_nm": [400.0, 500.0, 600.0], "widths_nm": None},
    "codebook": None,
    "licence": "MIT",
    "source": "Finlayson et al. 2015",
    "training": {
        "dataset": "cave", "split": "train", "scenes": ["a", "b"], "fingerprint": "f00",
        "dataset_info": {"response": "nikon-d5100"}, "provenance": {"commit": "abc"},
    },
    "weights_sha256": "9" * 64,
}  # fmt: skip


def figure(**changes: Any) -> Figure:
    values: dict[str, Any] = {
        "dataset": "cave", "split": "valid", "fingerprint": "f", "protocol": "full-frame",
        "protocol_hash": "c0b364d385fd" + "0" * 52, "condition": None, "tta": False, "scenes": 4, "seen": 0,
        "means": {"rmse": 0.04010451, "de2000": 2.5794801},
    }  # fmt: skip
    return Figure(**{**values, **changes})


def taken_apart(card: str) -> tuple[dict[Any, Any], str]:
    """A card's metadata and its Markdown."""
    head, body = split(card)
    return parse(head), body


def card_of(metadata: dict[str, Any]) -> str:
    return join(change("", metadata), "")


def test_a_new_card_has_the_metadata_and_the_marked_block() -> None:
    metadata, body = taken_apart(merge(None, MANAGED, "# Poly\n"))
    assert metadata == MANAGED
    assert body == f"\n{BEGIN}\n# Poly\n{END}\n"


def test_merging_again_changes_nothing() -> None:
    once = merge(None, MANAGED, "# Poly")
    assert merge(once, MANAGED, "# Poly") == once
    edited = once.replace("license: mit", "license: mit\nlanguage:\n- en\nthumbnail: x.png") + "\nMine.\n"
    assert merge(merge(edited, MANAGED, "# Poly"), MANAGED, "# Poly") == merge(edited, MANAGED, "# Poly")


def test_the_owners_text_and_keys_survive_a_changed_block() -> None:
    card = (
        "---\nlanguage: en\nlicense: apache-2.0\ntags:\n- mine\n- poly\n"
        "extra:\n  deep:\n  - 1\n  - no\n---\n"
        f"Before, with trailing spaces  \n\n{BEGIN}\nold\n{END}\n\nAfter: | a | b |\n"
    )
    metadata, body = taken_apart(merge(card, MANAGED, "new"))
    assert metadata == {
        "language": "en",
        "license": "mit",
        "tags": ["mine", "poly", "hsrzoo"],
        "extra": {"deep": [1, False]},
        "library_name": "hsrzoo",
    }
    assert body == f"Before, with trailing spaces  \n\n{BEGIN}\nnew\n{END}\n\nAfter: | a | b |\n"


def test_a_change_of_ours_leaves_all_other_bytes_of_the_metadata() -> None:
    theirs = "# mine\nlanguage: 'en'  # quoted\nthumbnail:\nno: a key that YAML reads as false\n"
    tail = "\n# of the widget\nwidget: {a: [1, 2], b: &x ~}\nnotes: |\n  # no comment\n\n  text\n# end"
    card = (
        f"---\n{theirs}tags: [mine]  # ours goes in\nlicense: other\nlicense_name: x\n{tail}\n---\nText.\n"
    )
    merged = merge(card, {"tags": ["hsrzoo"], **cards.licence("MIT")}, "ours")
    head, _ = split(merged)
    assert head == f"{theirs}tags:\n- mine\n- hsrzoo\nlicense: mit\n{tail}"
    assert merge(merged, {"tags": ["hsrzoo"], **cards.licence("MIT")}, "ours") == merged


@pytest.mark.parametrize(
    "head", ["{license: other, a: 1}", "license: other\na: 1\nlicense: gpl", "a: 1\n..."]
)
def test_metadata_that_cannot_be_changed_by_line_are_written_anew(head: str) -> None:
    metadata, _ = taken_apart(merge(f"---\n{head}\n---\n", {"license": "mit", "gone": None}, "ours"))
    assert metadata == {"license": "mit", "a": 1}


def test_ends_of_lines_stay_as_they_were() -> None:
    card = "---\r\nlanguage: en\r\n---\r\nMine.\r\n"
    merged = merge(card, MANAGED, "ours")
    assert merged.startswith("---\r\nlanguage: en\r\nlibrary_name: hsrzoo\r\n")
    assert merged.count("\n") == merged.count("\r\n") and merge(merged, MANAGED, "ours") == merged


def test_a_card_without_a_block_gets_it_above_its_text() -> None:
    _, body = taken_apart(merge("# My own\n\nText.\n", {}, "ours"))
    assert body.strip() == f"{BEGIN}\nours\n{END}\n\n# My own\n\nText."


def test_results_of_other_names_stay_and_ours_are_replaced() -> None:
    theirs, old, new = ({"name": n, "results": [r]} for n, r in (("x", 1), ("us", 2), ("us", 3)))
    card = card_of({"model-index": [theirs, old]})
    metadata, _ = taken_apart(merge(card, {"model-index": [new]}, ""))
    assert metadata["model-index"] == [theirs, new]
    without, _ = taken_apart(merge(card, {"model-index": [{"name": "us", "results": []}]}, ""))
    assert without["model-index"] == [theirs]


def test_a_list_of_base_models_is_kept_and_a_single_one_replaced() -> None:
    for theirs, expected in ((["a/b"], ["a/b", "lab/books"]), ("a/b", "lab/books")):
        card = card_of({"base_model": theirs})
        assert taken_apart(merge(card, {"base_model": "lab/books"}, ""))[0] == {"base_model": expected}


def test_a_key_set_to_nothing_goes() -> None:
    card = card_of({"license": "other", "license_name": "house rules"})
    metadata, _ = taken_apart(merge(card, cards.licence("MIT"), ""))
    assert metadata == {"license": "mit"}


@pytest.mark.parametrize(
    "body",
    [BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}", f"{BEGIN}{END}{BEGIN}"],
)
def test_damaged_markers_are_refused_instead_of_eating_text(body: str) -> None:
    with pytest.raises(FormatError, match="marked block is damaged"):
        merge(f"Text.\n{body}\nMore.\n", MANAGED, "new")


def test_metadata_that_are_no_yaml_are_an_error() -> None:
    for head in ("a: [1", "- a", "a: 2026-13-45", "a: !!python/name:os.system x"):
        with pytest.raises(FormatError, match="cannot be read as YAML"):
            merge(f"---\n{head}\n---\n", MANAGED, "new")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", {"license": "mit", "license_name": None}),
        ("Apache-2.0 (timm)", {"license": "apache-2.0", "license_name": None}),
        ("CC-BY-NC-4.0", {"license": "cc-by-nc-4.0", "license_name": None}),
        ("none stated", {"license": "other", "license_name": "none stated"}),
    ],
)
def test_licences_have_the_identifiers_of_the_hub(text: str, expected: dict[str, Any]) -> None:
    assert cards.licence(text) == expected


def test_the_model_index_is_read_by_the_client_and_names_hold_the_protocol() -> None:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    made = evaluations("poly-cave", [figure(), figure(tta=True, scenes=1, means={"rmse": 0.5})])
    index = made.model_index
    assert made.files == {}  # no data set is registered as a benchmark
    name, results = model_index_to_eval_results(index)
    assert name == "poly-cave"
    assert [(r.dataset_type, r.dataset_name, r.metric_type, r.metric_value) for r in results] == [
        ("cave", "cave/valid, full-frame", "rmse", 0.0401045),
        ("cave", "cave/valid, full-frame", "de2000", 2.57948),
        ("cave", "cave/valid, full-frame, adapted", "rmse", 0.5),
    ]
    assert [r.metric_name for r in results] == [
        "RMSE, full-frame, hash c0b364d385fd, mean of 4 scenes",
        "dE2000, full-frame, hash c0b364d385fd, mean of 4 scenes",
        "RMSE, full-frame, adapted, hash c0b364d385fd, mean of 1 scene",
    ]


def test_results_of_a_registered_benchmark_are_read_by_the_client() -> None:
    from huggingface_hub import parse_eval_result_entries

    known = {
        ("cave", "valid", "c0b364d385fd"): Benchmark("lab/cave", {"rmse": "full-frame-rmse"}, "f" * 40)
    }
    other = figure(split="train"), figure(tta=True), figure(seen=1), figure(condition="gamma e=0.9")
    (data,) = evaluations("poly-cave", [figure(), *other], known).files.values()
    (entry,) = parse_eval_result_entries(yaml.safe_load(data))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("lab/cave", "full-frame-rmse", 0.0401045)
    assert (entry.dataset_revision, entry.notes) == (
        "f" * 40, "RMSE, full-frame, hash c0b364d385fd, mean of 4 scenes"
    )  # fmt: skip


def test_a_card_answers_the_columns_of_list_and_what_is_foreign_counts_as_absent() -> None:
    zoo = read_zoo()
    ours = {
        "dataset": zoo.scores["dataset"],
        "split": zoo.scores["split"],
        "protocol_hash": zoo.scores["hash"],
    }
    wrong = figure(**ours, tta=True, means={"rmse": 9.0}), figure(means={"rmse": 8.0})
    size = {"parameters": 737_995, "frozen": 0, "buffers": 24_576}
    config = {**CONFIG, "architecture": "mcga-s2", "licence": "CC0"}
    card = cards.model_metadata("m", config, [figure(**ours, means={"rmse": 0.25}), *wrong], None, size)
    found = figures_of(card, zoo)
    timed = {name: zoo.weights["mcga-s2.cave"][name] for name in ("ms", "mib")}
    assert found == {
        "architecture": "mcga-s2", **size, **timed,
        "rmse": 0.25, "licence": "CC0", "year": 2025, "gmac": 28.14,
    }  # fmt: skip
    assert "gmac" not in figures_of({**card, "hsrzoo": {**card["hsrzoo"], "parameters": 1}}, zoo)
    for odd in (
        {"hsrzoo": [1], "model-index": 3},
        {"model-index": [{"results": [None, {"dataset": 1}]}, 2]},
    ):
        assert figures_of(odd, zoo) == {}


def test_the_figure_shows_the_errors_of_unseen_scenes_by_wavelength() -> None:
    def scene(errors: list[float], **changes: Any) -> ScoreRow:
        (row,) = result_rows.rows("m", [0.1], per_band={"rmse": errors, "bias": errors}, **changes)
        return ScoreRow.from_json(row, "f", 1)

    centres = [500.0, 400.0, 600.0]  # bands need not be sorted
    unlike = scene([1.0, 1.0]), scene([9.0] * 3, seen_in_training=True), scene([9.0] * 3, tta=True)
    first, second = scene([0.1, 0.2, 0.3]), scene([0.3, 0.2, 0.1], day=2, scene="z")
    made = error_figure([*unlike, first, second], centres)
    assert made is not None and made == error_figure([first, second], centres)
    text = made.decode()
    assert "cave/valid, full-frame: mean and range of 2 scenes" in text
    (line,) = re.findall(r'<polyline points="([^"]+)"', text)
    assert line.split() == ["70.0,116.7", "345.0,116.7", "620.0,116.7"], "means 0.2 of at most 0.3"
    assert error_figure(unlike, centres) is None


def test_figures_of_disturbed_input_or_training_scenes_are_no_results_of_the_index() -> None:
    found = [figure(condition="gamma e=0.9"), figure(seen=2), figure(means={})]
    assert evaluations("poly-cave", found).model_index == [{"name": "poly-cave", "results": []}]
    block = cards.model_block("poly-cave", "lab/poly@main", CONFIG, found, None)
    assert "2 of 4 in cave/valid, full-frame" in block


def test_the_block_says_what_it_is_how_to_use_it_and_where_it_comes_from() -> None:
    link = CodebookLink("lab/books", "1" * 40, {})
    cost = {"parameters": 12_345, "frozen": 678, "buffers": 9, "macs": 1_234_567_890, "memory": 3 << 20}
    block = cards.model_block("poly-cave", "lab/poly-cave@main", CONFIG, [figure()], link, cost=cost)
    for part in (
        "12,345 parameters, 678 of them never trained. For 256 x 256 pixels: 1.235 GMAC, and 3 MiB for",
        'hsrzoo.load("hf-hub:lab/poly-cave@main")',
        "becomes (H, W, 3)",
        "scenes of cave",
        "camera nikon-d5100",
        "| training data | cave/train, 2 scenes |",
        f"| codebook repository | lab/books at {'1' * 40} |",
        f"| sha256 of model.safetensors | {'9' * 64} |",
        "| cave/valid, full-frame | c0b364d385fd | 4 | 0.0401 | 2.579 |",
        "Finlayson et al. 2015. Licence: MIT.",
    ):
        assert part in block
    little = {**cost, "macs": 2_031_616}
    assert " 0.002032 GMAC" in cards.model_block(
        "poly-cave", "lab/poly-cave", CONFIG, [], None, cost=little
    )
    metadata = cards.model_metadata("poly-cave", CONFIG, [figure()], link)
    assert metadata["base_model"] == "lab/books"
    assert metadata["tags"] == ["hsrzoo", "hyperspectral", "spectral-reconstruction", "poly"]
    assert "base_model" not in cards.model_metadata("poly-cave", CONFIG, [], None)


def test_the_block_names_the_weights_that_were_fine_tuned() -> None:
    init = {"name": "hf-hub:lab/first", "revision": "c0ffee", "sha256": "12", "trained_on": []}
    tuned = {**CONFIG, "training": {**CONFIG["training"], "init": init}}
    blocks = [cards.model_block("poly-cave", "lab/x@main", config, [], None) for config in (tuned, CONFIG)]
    found = ["| fine-tuned from | hf-hub:lab/first at c0ffee, sha256 12 |" in block for block in blocks]
    assert found == [True, False]


def test_text_of_a_record_can_neither_break_the_table_nor_the_markers() -> None:
    hostile = f"a | b\n<script>x</script> {END}"
    training = {**CONFIG["training"], "command": hostile, "dataset": hostile}
    block = cards.model_block(
        "p", "o/p@main", {**CONFIG, "training": training, "source": hostile}, [], None
    )
    assert END not in block and "<script>" not in block
    assert "| command | a \\| b &lt;script&gt;x&lt;/script&gt;" in block
    once = merge(None, MANAGED, block)
    assert merge(once, MANAGED, block) == once


def test_the_card_of_a_plugins_model_says_what_others_need() -> None:
    def block(requires: str | None) -> str:
        return cards.model_block("net", "lab/net@main", {**CONFIG, "requires": requires}, [], None)

    assert "not part of hsrzoo" not in block(None)
    package = block("pip install my-nets==1.0")
    assert "```sh\npip install my-nets==1.0\n```\n\n```python\nimport hsrzoo\n" in package
    assert "| requires | pip install my-nets==1.0 |" in package
    file = block("--plugin tiny_net.py")
    assert "the plugin file `tiny_net.py` of its authors defines it" in file
    assert "`hsrzoo --plugin tiny_net.py ...`" in file
    code = file.partition("```python\n")[2].partition("```")[0]
    assert code.startswith('import hsrzoo.registry\nhsrzoo.registry.load_plugin_file("tiny_net.py")\n')
    assert 'hsrzoo.load("hf-hub:lab/net@main")' in code


def aliases(levels: int, merge: bool = False) -> str:
    """Nested aliases, ten in each level: 10 ** levels values in a few lines."""
    lines = ["a0: &a0 {x: 1}" if merge else "a0: &a0 [x]"]
    for i in range(1, levels):
        inner = ", ".join([f"*a{i - 1}"] * 10)
        lines.append(f"a{i}: &a{i} " + (f"{{<<: [{inner}]}}" if merge else f"[{inner}]"))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (aliases(12), "more than 100000 values, as its aliases"),
        (aliases(12, merge=True), "more than 100000 values, as its aliases"),
        ("a: &a [*a]", "a value that holds itself"),
        ("a: &a {b: *a}", "a value that holds itself"),
        ("a: " + "[" * 600, "nested too deeply"),
        ("a: " + "[" * 600 + "]" * 600, "nested too deeply"),
        ("a: 2020-99-99", "ValueError"),
        ("a: 0x" + "_" * 9, "ValueError"),
        ("a: !!binary \u20ac", "line 1"),
        ("a: !!python/object:os.system x", "line 1"),
        ("a: \x07", "ReaderError"),
        ("- x", "Got list"),
        ("x", "Got str"),
    ],
    ids=range(13),
)
def test_metadata_that_cannot_be_meant_are_refused(head: str, words: str) -> None:
    with pytest.raises(FormatError, match="metadata cannot be read as YAML") as caught:
        merge(f"---\n{head}\n---\nText.\n", MANAGED, "block")
    assert words in str(caught.value)


def test_a_few_aliases_are_fine() -> None:
    metadata, _ = taken_apart(merge("---\na: &a [x, y]\nb: *a\n---\n", MANAGED, "block"))
    assert metadata["b"] == ["x", "y"]


@pytest.mark.parametrize("theirs", ["[[1], {a: 1}]", "{a: {b: c}}", "3", "[null]", "2020-01-01", "[]"])
@pytest.mark.parametrize("key", ["tags", "base_model", "model-index", "license"])
def test_values_of_any_kind_under_managed_keys_are_merged(key: str, theirs: str) -> None:
    ours = cards.model_metadata("n", CONFIG, [figure()], CodebookLink("a/b", "0" * 40, {}))
    once = merge(f"---\n{key}: {theirs}\n---\n", ours, "block")
    assert merge(once, ours, "block") == once
