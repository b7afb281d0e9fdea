"""``hsrzoo codebook push``: codebooks become one commit on the Hub."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("push")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo")
@click.option("--public", is_flag=True, help="Make a repository that does not exist yet public.")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of committing to the branch.")
@click.option("--revision", metavar="BRANCH", help="Branch to commit to [main].")
@click.option("--message", help="Title of the commit.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be pushed.")
def push_codebook(
    folder: Path,
    repo: str,
    public: bool,
    create_pr: bool,
    revision: str | None,
    message: str | None,
    dry_run: bool,
) -> None:
    """Push the codebooks in FOLDER with their card and figures to the Hugging Face Hub, as one commit.

    FOLDER is a run of `hsrzoo codebook train`, its codebook, a mixture or hf-hub:ORG/NAME; REPO is
    ORG/NAME, private unless --public creates it. The commit's address is printed.
    """
    from hsrzoo.cli.push import make_target, report
    from hsrzoo_mcga import publishing

    target = make_target(repo, public, create_pr, revision, message, dry_run)
    report(publishing.push_codebook(publishing.checked_folder(folder), target), target)
