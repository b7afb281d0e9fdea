"""``hsrzoo pull``: weights or codebooks from the Hugging Face Hub, for later use without a network."""

from __future__ import annotations

import click


@click.command("pull")
@click.argument("repo")
@click.option("--revision", help="Branch, tag, pull request (refs/pr/1) or commit; also as REPO@REVISION.")
@click.option("--force", is_flag=True, help="Download files again that are in the cache.")
def command(repo: str, revision: str | None, force: bool) -> None:
    """Download weights or codebooks from the Hub and print their folder.

    REPO is ORG/NAME, or ORG/NAME@REVISION. Files in the cache are not downloaded again, and the digest of
    every file is checked. Afterwards all commands can use them without a network (HF_HUB_OFFLINE=1):
    weights as --model hf-hub:REPO, codebooks as --start hf-hub:REPO. Private repositories need a token:
    `hf auth login`, or HF_TOKEN.
    """
    from hsrzoo.cli.output import say
    from hsrzoo.hub.client import pull, require_revision
    from hsrzoo.models.weights import read_config
    from hsrzoo.utils.files import TENSORS

    name, at, after = repo.removeprefix("hf-hub:").partition("@")
    if at and revision is not None and after != revision:
        raise click.UsageError(f"REPO says @{after} and --revision says {revision}")
    revision = after if at else revision
    folder = pull(name, None if revision is None else require_revision(revision), force=force)
    if (folder / TENSORS).exists():
        read_config(folder)  # reports a schema that is too new while there is a network
    say(f"{name}: commit {folder.name}")
    click.echo(folder)
