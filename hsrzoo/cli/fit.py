"""``hsrzoo fit``: a model that is fitted in closed form, or in seconds, becomes a folder of weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import ARCHITECTURE, DATASET
from hsrzoo.errors import TrainingError

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset


@click.command("fit")
@click.argument("name", type=ARCHITECTURE)
@click.option("--dataset", type=DATASET, required=True, help="Data set to fit to.")
@click.option("--split", default="train", show_default=True, help="Split of the data set.")
@click.option("--out", type=options.PATH, help="Folder of the weights [NAME.DATASET].")
@options.arguments
@options.data_options
@options.pools
@click.option(
    "--crops", default=1000, show_default=True, type=click.IntRange(1), help="With --pool: how many."
)
@options.data_root
def command(
    name: str, dataset: str, split: str, out: Path | None, arguments: dict[str, Any],
    data_options: dict[str, str], pool_texts: tuple[str, ...], crops: int, data_root: Path | None,
) -> None:  # fmt: skip
    """Fit a small model (linear, poly, pixel-mlp, ...) to a data set and write its weights.

    Regressions are computed in closed form from all pixels of the split; pixel-mlp is trained for seconds
    on a sample of them. With --pool, the pixels are those of random crops, as `hsrzoo train` draws them.
    """
    if not pool_texts:
        options.forbid_without("--pool", ("crops",))
    from hsrzoo.cli.output import say_weights
    from hsrzoo.datasets.named import Opener
    from hsrzoo.models.building import build_as_asked
    from hsrzoo.models.locate import weights_command
    from hsrzoo.models.weights import save_folder
    from hsrzoo.registry import MODELS
    from hsrzoo.spec import resolve
    from hsrzoo.utils.files import make_folder
    from hsrzoo.utils.locks import hold_folder
    from hsrzoo.utils.provenance import collect

    spec = MODELS.get(name)
    if spec.fit is None:
        raise TrainingError(
            f"{name} is trained, not fitted",
            fix=f"Use `{weights_command(name, dataset)}`",
        )
    folder = out or Path(f"{name}.{dataset}")
    opener = Opener(data_root)
    data = opener(dataset, data_options)
    module = build_as_asked(spec, data.bands, arguments)
    training = _record(data, split, collect("cpu"))  # the state of the code before fitting
    if pool_texts:
        from hsrzoo.training.crop_set import SPLIT, CropSet
        from hsrzoo.training.pools import parse_pool

        pools = [parse_pool(text, opener) for text in pool_texts]
        found = CropSet(data, split, pools, crops=crops)
        training |= found.pools()
        data, split = found, SPLIT
    make_folder(folder)
    with hold_folder(folder):
        training |= resolve(spec.fit)(module, data, split) or {}
        save_folder(folder, module, spec, data.bands, arguments=arguments, training=training)
    say_weights(folder)


def _record(data: Dataset, split: str, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """How the weights were made, for config.json."""
    from hsrzoo.utils.provenance import command_line

    return {
        "method": "closed form",
        "dataset": data.name,
        "split": split,
        "scenes": data.scenes(split),
        "fingerprint": data.fingerprint(),
        "dataset_info": data.record(),
        "command": command_line(),
        "provenance": provenance,
    }
