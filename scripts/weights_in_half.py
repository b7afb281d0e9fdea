"""Rewrite a folder of weights in half precision: half the bytes, loaded into float32 networks as before.

    python scripts/weights_in_half.py baselines/weights/hscnn-plus.cave

Rows in a store of results are kept by the weights' hash, so they have to be computed anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from hsrzoo.weights import (
    CARD,
    CONFIG,
    TENSORS,
    load_tensors,
    read_config,
    save_tensors,
    sha256_of_file,
    write_atomically,
)


def main(folder: Path) -> None:
    """Rewrite tensors, configuration and card of ``folder``."""
    config = read_config(folder)
    before = config["weights_sha256"]
    tensors = load_tensors(folder / TENSORS)
    halves = {name: x.half() if x.dtype == torch.float32 else x for name, x in tensors.items()}
    if not all(torch.isfinite(value).all() for value in halves.values()):
        raise SystemExit(f"{folder}: some weights are beyond the range of float16")
    metadata = {key: config[key] for key in ("architecture", "schema")}
    save_tensors(folder / TENSORS, halves, metadata)
    after = sha256_of_file(folder / TENSORS)
    config["weights_sha256"] = after
    config["training"]["stored"] = {"dtype": "float16", "rounded_from_sha256": before}
    card = (folder / CARD).read_text().replace(before, after)
    head = "|---|---|\n"
    card = card.replace(head, f"{head}| stored as | float16, rounded from sha256 {before} |\n", 1)
    write_atomically(folder / CARD, card.encode())
    write_atomically(folder / CONFIG, (json.dumps(config, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        main(Path(name))
