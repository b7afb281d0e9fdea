"""Options that commands share: pairs of KEY=VALUE, JSON values, names of data sets' options."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from hsrzoo.cli.options import DEFAULT_STORE, json_or_text, parse_options, parse_pairs


def test_pairs_and_json_values() -> None:
    assert parse_pairs(("a=1", "b=x=y"), "--arg") == {"a": "1", "b": "x=y"}
    assert parse_options(("some-key = a ",)) == {"some_key": "a"}
    assert [json_or_text(t) for t in ("1", "true", "[1, 2]", "joint")] == [1, True, [1, 2], "joint"]


def test_all_commands_share_one_default_store_but_the_one_whose_queues_write_elsewhere() -> None:
    commands = {entry.name: entry.load() for entry in entry_points(group="hsrzoo.commands")}
    stores = {
        name: option.default
        for name, command in commands.items()
        for option in command.params
        if "--store" in option.opts and not option.multiple
    }
    assert stores.pop("reproduce") == Path("records")
    assert stores == dict.fromkeys(("bench", "compare", "info", "report", "show"), DEFAULT_STORE)


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_what_is_no_pair_is_refused_with_the_name_of_the_option(pair: str) -> None:
    with pytest.raises(click.BadParameter) as error:
        parse_pairs((pair,), "--arg")
    assert error.value.param_hint == "--arg"
