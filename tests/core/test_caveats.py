"""Caveats name the data, the camera and the command that checks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hsrzoo.prediction.caveats import caveats, other_encoding, training_data
from hsrzoo.registry import MODELS


def weights(training: dict, codebook: dict | None = None) -> SimpleNamespace:
    return SimpleNamespace(name="net.toy", config={"training": training, "codebook": codebook})


def test_all_data_sets_of_generalists_are_named():
    extra = [{"dataset": name} for name in ("cave", "enmap", "samson", "enmap")]
    found = training_data({"training": {"dataset": "cave", "extra": extra}})
    assert "400-700 nm in 31 bands), enmap, samson, with RGB" in found


def test_set_camera_codebooks_and_the_command_that_checks_are_named():
    text = caveats(
        weights({"dataset": "cave", "dataset_info": {"response": "nikon-d5100"}}, {"sources": ["a", "b"]})
    )
    assert "cave (CAVE multispectral" in text and "the camera nikon-d5100" in text
    assert "codebooks from a and b" in text
    assert "hsrzoo bench --model net.toy --dataset cave" in text
    assert "outside their domain" in text and len(text.splitlines()) == 2


def test_the_command_renders_images_of_the_camera_of_the_training_pairs():
    text = caveats(weights({"dataset": "cave", "dataset_info": {"response": "cie-1964"}}))
    assert text.endswith("--model net.toy --dataset cave --data-option response=cie-1964")


def test_the_command_asks_for_the_folder_of_a_folder():
    assert caveats(weights({"dataset": "folder"})).endswith("--dataset folder --data-option path=FOLDER")


def test_the_command_can_be_pasted():
    spaced = SimpleNamespace(name="local-dir:my weights", config={"training": {"dataset": "cave"}})
    assert "--model 'local-dir:my weights' --dataset cave" in caveats(spaced)


def test_the_command_loads_the_plugin_file_of_the_network(monkeypatch):
    monkeypatch.setattr(MODELS, "program", "hsrzoo --plugin {}.py".format)
    mine = SimpleNamespace(
        name="local-dir:w", config={"architecture": "mine", "training": {"dataset": "cave"}}
    )
    assert "hsrzoo --plugin mine.py bench --model local-dir:w --dataset cave" in caveats(mine)


def test_a_set_that_no_plugin_knows_and_an_unknown_camera():
    text = caveats(weights({"dataset": "nobodys"}))
    assert "trained on nobodys, with RGB of an unknown camera" in text


def test_weights_that_were_fine_tuned_name_the_first_ones():
    text = caveats(weights({"dataset": "nobodys", "init": {"name": "net.cave"}}))
    assert "fine-tuned from net.cave on nobodys" in text


@pytest.mark.parametrize(
    ("training", "told"),
    [
        (
            {"dataset": "nobodys", "init": {"name": "net.cave"}},
            "nobodys, with RGB of an unknown camera, fine-tuned from net.cave",
        ),
        ({"weights": "random"}, "none, the weights are random"),
        ({}, "unknown"),
    ],
)
def test_the_training_data_in_the_metadata_of_cubes(training, told):
    assert training_data({"training": training}) == told


def test_the_camera_of_a_photograph_is_another_one():
    assert "cameras (such as Maker Phone 3) are outside" in caveats(
        weights({"dataset": "cave"}), "Maker Phone 3"
    )


@pytest.mark.parametrize(
    ("learned", "now", "words"),
    [
        ("linear", "srgb", "taken as they are; this one is decoded (--linear"),
        ("srgb", "linear", "decoded to linear light; this one is taken as it is (--srgb"),
        ("srgb", "srgb", None),
        ("linear", "linear", None),
        (None, "srgb", None),
    ],
)
def test_a_photograph_that_is_decoded_otherwise_than_those_of_the_training(learned, now, words):
    info = {} if learned is None else {"encoding": learned}
    text = other_encoding(
        weights({"dataset": "folder", "dataset_info": info}), SimpleNamespace(encoding=now)
    )
    assert text is None if words is None else words in text


@pytest.mark.parametrize(
    ("training", "words"),
    [({"weights": "random"}, "are random"), ({}, "training data of these weights are unknown")],
)
def test_without_training_nothing_is_promised(training, words):
    text = caveats(weights(training))
    assert words in text and len(text.splitlines()) <= 2
