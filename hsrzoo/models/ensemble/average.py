"""One network with the mean of the weights of several networks of the same structure.

The mean of weights and of what they became in further training costs nothing at run time, and is often
better on both kinds of data than each (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
The mean of weights trained from different first ones is useless.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from hsrzoo.errors import InputError
from hsrzoo.models.ensemble.members import Made, codebook_of, record_of, shares_of

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor


def average_weights(
    models: Sequence[Reconstructor], shares: Sequence[float] | np.ndarray | None = None
) -> Made:
    """The network whose weights are the weighted mean of those of ``models``.

    Args:
        models: Of one architecture with the same arguments and input.
        shares: One for each model, 0 or more, of sum 1; None: equal ones.

    Returns:
        A network of that architecture.

    Raises:
        InputError: Different architectures, arguments or inputs, whole numbers that differ, or impossible
            shares.
    """
    first = models[0]
    for model in models[1:]:
        for what, ours, theirs in (
            ("architecture", first.spec.name, model.spec.name),
            ("arguments", first.config["arguments"], model.config["arguments"]),
            ("input", first.spec.input, model.spec.input),
        ):
            if ours != theirs:
                raise InputError(
                    f"The weights of {first.name} and {model.name} cannot be averaged",
                    expected=f"the same {what}, {ours}",
                    got=theirs,
                )
    given = shares_of(shares, len(models), 1)[:, 0]
    states = [model.module.state_dict() for model in models]
    mean = {}
    for name, tensor in states[0].items():
        same = [state[name] for state in states]
        if tensor.is_floating_point():
            total = sum(share * one.double() for share, one in zip(given, same, strict=True))
            mean[name] = torch.as_tensor(total).to(tensor.dtype)
        elif all(torch.equal(tensor, one) for one in same):
            mean[name] = tensor
        else:
            raise InputError(f"{name} of {first.name} cannot be averaged", got="whole numbers that differ")
    module = copy.deepcopy(first.module)
    module.load_state_dict(mean)
    record = record_of(models)
    training = {**record, "method": "mean of weights", "shares": given.tolist()}
    return Made(
        module.eval(), first.spec, first.bands, first.config["arguments"], training, codebook_of(models), ()
    )
