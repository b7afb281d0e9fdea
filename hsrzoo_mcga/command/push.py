"""``hsrzoo codebook push``: codebooks become one commit on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsrzoo.cli import options
from hsrzoo.cli.push import make_target, report, target_options


@click.command("push")
@click.argument("folder", type=options.PATH)
@click.argument("repo")
@target_options
def push_codebook(folder: Path, repo: str, **where: Any) -> None:
    """Push the codebooks in FOLDER with their card and figures to the Hugging Face Hub, as one commit.

    FOLDER is a run of `hsrzoo codebook train`, its codebook, a mixture or hf-hub:ORG/NAME; REPO is
    ORG/NAME, private unless --public creates it. The commit's address is printed.
    """
    from hsrzoo_mcga.codebook import push

    target = make_target(repo, **where)
    report(push.push_codebook(push.read_complete(folder), target), target)
