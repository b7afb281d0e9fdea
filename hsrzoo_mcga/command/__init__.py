"""``hsrzoo codebook``: stage 1 of MCGA on the command line."""

from __future__ import annotations

import click

from hsrzoo_mcga.command.inspect import inspect_codebook
from hsrzoo_mcga.command.mix import mix_codebooks
from hsrzoo_mcga.command.push import push_codebook
from hsrzoo_mcga.command.synthetic import judge_samples, sample_codebook
from hsrzoo_mcga.command.train import train_codebook

_COMMANDS = [train_codebook, mix_codebooks, inspect_codebook, sample_codebook, judge_samples, push_codebook]


@click.group("codebook", commands=_COMMANDS)
def command() -> None:
    """Train, mix, inspect and push codebooks (stage 1 of MCGA)."""
