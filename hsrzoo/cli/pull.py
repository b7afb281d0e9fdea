"""``hsrzoo pull``: weights or codebooks from the Hugging Face Hub, for use without a network later on."""

from __future__ import annotations

import click


@click.command("pull")
@click.argument("repo")
@click.option("--revision", help="Branch, tag, pull request (refs/pr/1) or commit; also as REPO@REVISION.")
@click.option("--force", is_flag=True, help="Fetch again what is here already.")
def command(repo: str, revision: str | None, force: bool) -> None:
    """Fetch weights or codebooks from the Hub and print the folder that holds them.

    REPO is ORG/NAME, or ORG/NAME@REVISION. Files that are here already are not fetched again, every file is
    checked against its digest, and from then on all commands find it with HF_HUB_OFFLINE=1 as well:
    weights as --model hf-hub:REPO, codebooks as --start hf-hub:REPO. Private repositories need a token:
    `hf auth login`, or HF_TOKEN.
    """
    from hsrzoo.cli.output import console
    from hsrzoo.hub.client import pull, require_revision
    from hsrzoo.models.weights import read_config
    from hsrzoo.utils.files import TENSORS

    name, at, after = repo.removeprefix("hf-hub:").partition("@")
    if at and revision is not None and after != revision:
        raise click.UsageError(f"REPO says @{after} and --revision says {revision}")
    revision = after if at else revision
    folder = pull(name, None if revision is None else require_revision(revision), force=force)
    if (folder / TENSORS).exists():
        read_config(folder)  # a schema that is too new is told now, not without a network
    console.print(f"{name}: commit {folder.name}", markup=False, highlight=False)
    click.echo(folder)
