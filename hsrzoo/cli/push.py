"""``hsrzoo push``: weights, card and rows become one commit on the Hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import MODEL
from hsrzoo.cli.output import say

if TYPE_CHECKING:
    from hsrzoo.hub.push import Push, Target

_TARGET = (
    click.option("--public", is_flag=True, help="Create a public repository (if it does not exist)."),
    click.option(
        "--create-pr", is_flag=True, help="Open a pull request instead of committing to the branch."
    ),
    click.option("--revision", metavar="BRANCH", help="Branch to commit to [main]."),
    click.option("--message", help="Title of the commit."),
    click.option("--dry-run", is_flag=True, help="Check everything and print what would be pushed."),
)


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that :func:`make_target` takes."""
    for option in reversed(_TARGET):
        function = option(function)
    return function


@click.command("push")
@click.argument("name", type=MODEL, metavar="NAME")
@click.argument("repo", metavar="REPO")
@click.option("--dataset", "is_dataset", is_flag=True,
              help="Push rows alone: NAME is a store (a folder), REPO a data set repository.")  # fmt: skip
@click.option(
    "--store", "stores", multiple=True, type=options.PATH,
    help="Store, or a .jsonl file of it, whose rows of these weights are pushed; repeatable "
    f"[{options.DEFAULT_STORE}].",
)  # fmt: skip
@click.option("--codebook", metavar="ORG/NAME[@REVISION]", help="Repository of the model's codebooks.")
@target_options
def command(
    name: str, repo: str, is_dataset: bool, stores: tuple[Path, ...], codebook: str | None, **where: Any
) -> None:
    """Push weights with their card and rows to the Hugging Face Hub, as one commit.

    NAME is ARCH, ARCH.TAG or local-dir:PATH; REPO is ORG/NAME, created private unless --public is given.
    Only rows with the sha256 of these weights are pushed. In an existing card only the part that hsrzoo
    wrote changes. The URL of the commit is printed. The token comes from HF_TOKEN or `hf auth login`.
    """
    if is_dataset:
        options.forbid(
            bool(stores) or codebook is not None, "--dataset goes with neither --store nor --codebook"
        )
        _push_rows(Path(name), make_target(repo, **where))
        return
    from hsrzoo.models import push as publishing

    target = make_target(repo, **where)
    weights = publishing.checked_weights(name)
    default = (options.DEFAULT_STORE,) if options.DEFAULT_STORE.is_dir() else ()
    push, rows = publishing.push_model(weights, stores or default, codebook, target)
    report(push, target)
    _say_rows(len(rows.rows), len(rows.files), rows.left_out)


def _push_rows(store: Path, target: Target) -> None:
    from hsrzoo.hub.dataset import push_rows

    push, rows = push_rows(store, target)
    report(push, target)
    _say_rows(len(rows.rows), len(rows.files), rows.left_out)


def _say_rows(rows: int, files: int, left_out: Mapping[str, int]) -> None:
    say(f"Rows: {rows} in {files} files", style="dim")
    for reason, count in left_out.items():
        say(f"Left out: {count} {reason}", style="dim")


def make_target(
    repo: str, public: bool, create_pr: bool, revision: str | None, message: str | None, dry_run: bool
) -> Target:
    """Check the repository's name and the token before any work; raises InputError, HubError."""
    from hsrzoo.hub import client
    from hsrzoo.hub.push import Target

    options.forbid(create_pr and revision is not None, "--create-pr starts from main: omit --revision")
    if revision is not None:
        client.require_revision(revision)
    target = Target(client.require_repo(repo), public, create_pr, revision, message, dry_run)
    client.whoami()
    return target


def report(push: Push, target: Target) -> None:
    """Print the URL of the commit on stdout, and the change of each file on stderr."""
    kind = "private" if push.private else "public"
    if push.created:
        say(f"{'Would create' if target.dry_run else 'Created'} the {kind} repository {push.repo}")
    elif target.public and push.private:
        say(f"{push.repo} exists and stays private: change that in its settings on the Hub")
    elif not push.private:
        say(f"{push.repo} exists and is public: everything pushed is public")
    for path, change in sorted(push.changes.items()):
        if change != "unchanged":
            say(f"  {change:7}  {path}")
    if push.unchanged:
        say(f"All {len(push.changes)} files are up to date: no commit")
    elif target.dry_run:
        say("Dry run: nothing was sent")
    if push.url:
        click.echo(push.url)
