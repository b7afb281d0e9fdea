"""Rewrite folders of weights in half precision: half the bytes, loaded into float32 networks as before.

    python scripts/weights_in_half.py baselines/hsrzoo_baselines/weights/hscnn-plus.cave

Rows in a store of results are kept by the weights' hash, so they must be computed again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from hsrzoo.models.tensors import load_tensors, save_tensors
from hsrzoo.models.weights import read_config
from hsrzoo.utils.files import CARD, CONFIG, TENSORS, sha256_of_file, write_atomically

HEAD = "|---|---|\n"
"""Below the header of the card's table."""


def main(folder: Path) -> None:
    """Rewrite tensors, configuration and card of ``folder``; nothing is written unless all can be."""
    config = read_config(folder)
    tensors = load_tensors(folder / TENSORS)
    card = (folder / CARD).read_text()
    before = config["weights_sha256"]
    if "stored" in config["training"]:
        raise SystemExit(f"{folder}: these weights are rounded already, see training.stored in {CONFIG}")
    if not any(x.dtype == torch.float32 for x in tensors.values()):
        raise SystemExit(f"{folder}: no weights in float32 that could be rounded")
    if before not in card or HEAD not in card:
        raise SystemExit(f"{folder}: {CARD} has no table with the weights' sha256 {before}")
    halves = {name: x.half() if x.dtype == torch.float32 else x for name, x in tensors.items()}
    if not all(torch.isfinite(value).all() for value in halves.values()):
        raise SystemExit(f"{folder}: some weights are beyond the range of float16")
    save_tensors(folder / TENSORS, halves, {key: config[key] for key in ("architecture", "schema")})
    after = sha256_of_file(folder / TENSORS)
    config["weights_sha256"] = after
    config["training"]["stored"] = {"dtype": "float16", "rounded_from_sha256": before}
    row = f"| stored as | float16, rounded from sha256 {before} |\n"
    card = card.replace(before, after).replace(HEAD, HEAD + row, 1)
    write_atomically(folder / CARD, card.encode())
    write_atomically(folder / CONFIG, (json.dumps(config, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("Usage: python scripts/weights_in_half.py FOLDER ...")
    for name in sys.argv[1:]:
        main(Path(name))
