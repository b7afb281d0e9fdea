"""The network of an ensemble: its members side by side, and the share of each in every band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.layers.pixel_rows import at_least_fp32
from hsrzoo.layers.whole_image import in_strips, whole_image
from hsrzoo.models.complexity import unseen_macs
from hsrzoo.models.rgb import stretch
from hsrzoo.models.steps.network import declared_halo
from hsrzoo.registry import MODELS
from hsrzoo.spec import NORMALISATIONS, ModelSpec, build_module


@dataclass(frozen=True)
class Member:
    """What config.json says of a member: how to build it, and its own normalisation of the input."""

    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    normalise: str = "none"

    @classmethod
    def of(cls, value: Any) -> Member:
        """From JSON: the name of an architecture, or an object with the three fields. InputError for any
        other value."""
        if isinstance(value, str):
            return cls(value, {}, MODELS.get(value).input.normalise)
        try:
            found = cls(**value)
        except TypeError:
            found = None
        if (
            found is None
            or not isinstance(found.architecture, str)
            or not isinstance(found.arguments, Mapping)
            or found.normalise not in NORMALISATIONS
        ):
            raise InputError(
                "A member of an ensemble is described in an unknown way",
                expected="the name of an architecture, or its architecture, arguments and normalise",
                got=repr(value),
            )
        return found

    @property
    def spec(self) -> ModelSpec:
        return MODELS.get(self.architecture)


class Ensemble(nn.Module):
    """RGB (B, 3, H, W) in [0, 1] -> cube (B, C, H, W): sum of share times cube over the members."""

    shares: Tensor
    """(members, C)."""

    def __init__(self, members: Sequence[nn.Module], normalise: Sequence[str], bands: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.normalise = tuple(normalise)
        self.register_buffer("shares", torch.full((len(members), bands), 1 / len(members)))

    @property
    def halo(self) -> int | None:
        """The largest of the members'; None if one declares none."""
        halos = [declared_halo(member) for member in self.members]
        known = [halo for halo in halos if halo is not None]
        return max(known) if len(known) == len(halos) else None

    @property
    def tile_step(self) -> int:
        """Of which the sides of tiles are multiples."""
        return math.lcm(*(int(getattr(member, "tile_step", 1)) for member in self.members))

    @property
    def pixelwise(self) -> bool:
        """Whether a spectrum of the cube depends on that pixel of the image alone."""
        return all(map(_pixelwise, self.members)) and set(self.normalise) == {"none"}

    def unseen_macs(self, height: int, width: int) -> int:
        """Multiply-accumulates outside torch of all members."""
        return sum(unseen_macs(member, height, width) for member in self.members)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        # those that see neighbours first: the others then add themselves strip by strip
        order = sorted(range(len(self.members)), key=lambda i: _pixelwise(self.members[i]))
        total: Tensor | None = None
        first: Tensor | None = self.shares[order[0], :, None, None]
        for i in order:
            member, share = self.members[i], self.shares[i, :, None, None]
            image = _normalised(rgb, self.normalise[i])
            if total is None:
                total = at_least_fp32(member(image))
                continue
            if _pixelwise(member):
                add = partial(_add, first=first, share=share, member=member)
            else:
                add, image = partial(_add, first=first, share=share), member(image)
            total, first = in_strips(add, total, image, reuse=True), None
        assert total is not None  # there is at least one member
        return total if first is None else total * first


def _add(
    total: Tensor, more: Tensor, *, first: Tensor | None, share: Tensor, member: nn.Module | None = None
) -> Tensor:
    """``total``, weighted by ``first`` where that is still to be done, and ``share`` times the cube
    ``more``, or that of the image ``more``."""
    cube = more if member is None else member(more)
    return torch.addcmul(total if first is None else total * first, cube, share)


def _pixelwise(module: nn.Module) -> bool:
    return bool(getattr(module, "pixelwise", False))


def _normalised(rgb: Tensor, how: str) -> Tensor:
    if how == "none":
        return rgb
    low, high = whole_image(_extremes, rgb, reduce=("min", "max"))
    return stretch(rgb, low, high)


def _extremes(rgb: Tensor) -> tuple[Tensor, Tensor]:
    return rgb.amin(dim=(1, 2, 3), keepdim=True), rgb.amax(dim=(1, 2, 3), keepdim=True)


def build(bands: BandSet, members: Sequence[Any]) -> Ensemble:
    """The ensemble of ``members`` (see :meth:`Member.of`) with equal shares.

    Raises InputError without members, for a description that is none, and for a network that makes images
    of a batch depend on each other; UnknownNameError for an unknown architecture.
    """
    if isinstance(members, str) or not members:
        raise InputError("An ensemble needs members", expected="a list of one or more", got=repr(members))
    found = [Member.of(member) for member in members]
    for member in found:
        if member.spec.couples_batch:
            raise InputError(
                f"{member.architecture} cannot be a member of an ensemble",
                expected="a network that treats the images of a batch apart",
                got="one that couples them",
            )
    # trained weights follow, or random ones are asked for: nothing is fetched
    modules = [build_module(member.spec, bands, member.arguments, fresh=False) for member in found]
    return Ensemble(modules, [member.normalise for member in found], len(bands))
