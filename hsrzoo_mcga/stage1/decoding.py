"""Stage 1 with codes alone: cubes to maps of code indices and back, and each code as a spectrum.

Algorithm 2 concatenates each code with the feature that it quantizes. Without a cube there is no such
feature: the code takes its place, H_i := the code. Beyond scale 1 nothing else is missing, for algorithm 1
computes the features of scale i + 1 from the codes of scale i.

Letters: B batch, C bands, N codes, D code width, S scales, H W pixels, h w cells of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from hsrzoo.models.building import build_within
from hsrzoo.models.weights import load_strictly
from hsrzoo.utils.files import CONFIG
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source
from hsrzoo_mcga.codebook.lookup import Query
from hsrzoo_mcga.codebook.search import nearest_code
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder, upsample

Maps = list[Tensor]
"""Indices of the codes at scales 1 .. S, each (B, H/2^i, W/2^i) int64."""


def load_autoencoder(folder: CodebookFolder, source: Source) -> SpectralAutoencoder:
    """The autoencoder of one source with its own codes, as stage 1 trained it."""
    mask = source.record.get("mask", "by-band")
    build = partial(
        SpectralAutoencoder, len(source.bands), folder.scales, folder.latent, source.n_codes, mask
    )
    what = f"the autoencoder of {source.name}"
    module = build_within(build, folder.size_of(source), what, str(folder.path / CONFIG))
    codes = {f"codes.{i}": table[source.rows] for i, table in enumerate(folder.codes())}
    load_strictly(module, {**folder.autoencoder(source), **codes}, f"{what} in {folder.path}")
    return module.eval()


def encode(module: SpectralAutoencoder, cubes: Tensor) -> Maps:
    """Code indices of ``cubes`` (B, C, H, W), whose sides are multiples of 2^S; NaN counts as 0. All bands
    are visible, or those of the even mask where the lift has no channels for all."""
    all_bands = torch.arange(module.bands).expand(len(cubes), -1)
    mask = all_bands if module.mask == "by-band" else module.even_mask(len(cubes))
    queries = module.encode(cubes.nan_to_num(0.0), mask)
    return [q.indices.view(len(cubes), *q.features.shape[-2:]) for q in queries]


def decode(module: SpectralAutoencoder, maps: Maps) -> Tensor:
    """Algorithm 2 with H_i := the code: indices to (B, C, H, W) float32, H twice the height of scale 1."""
    queries = [_as_query(module, i, indices) for i, indices in enumerate(maps)]
    b, h, w = maps[0].shape
    return module.reconstruction(queries, torch.empty(b, 1, 2 * h, 2 * w))


def next_features(module: SpectralAutoencoder, scale: int, indices: Tensor) -> Tensor:
    """Features of scale + 1, (B, D, h/2, w/2), that algorithm 1 computes from the codes ``indices``
    (B, h, w) of ``scale`` (1 .. S - 1)."""
    b, h, w = indices.shape
    full = torch.empty(b, 1, h << scale, w << scale)
    codes = _as_query(module, scale - 1, indices).codes_map()
    return module.down[scale](module.back[scale - 1](upsample(codes, full)))


def coarser_map(module: SpectralAutoencoder, scale: int, indices: Tensor) -> Tensor:
    """The indices at scale + 1 that follow from those at ``scale``, (B, h, w) -> (B, h/2, w/2)."""
    features = next_features(module, scale, indices)
    rows = features.permute(0, 2, 3, 1)  # B h/2 w/2 D
    return nearest_code(rows.reshape(-1, rows.shape[-1]), module.codes[scale]).view(rows.shape[:3])


def matching_codes(module: SpectralAutoencoder, scale: int) -> Maps:
    """For each code of ``scale`` (1 .. S) the matching code at every scale, S tensors (N,).

    Coarser ones: what algorithm 1 finds on a constant map of the code. Finer ones: the code whose
    constant map gives features nearest to this code. No data are needed.
    """
    n = len(module.codes[scale - 1])
    found = {scale: torch.arange(n)}
    for coarser in range(scale + 1, module.scales + 1):
        features = _constant_next(module, coarser - 1)[found[coarser - 1]]
        found[coarser] = nearest_code(features, module.codes[coarser - 1])
    for finer in range(scale - 1, 0, -1):
        wanted = module.codes[finer][found[finer + 1]]
        found[finer] = nearest_code(wanted, _constant_next(module, finer))
    return [found[i] for i in range(1, module.scales + 1)]


@torch.inference_mode()
def code_spectra(module: SpectralAutoencoder) -> list[Tensor]:
    """Every code of every scale as a spectrum, S tensors (N, C) float32: the middle of a constant map of
    the code, with its :func:`matching_codes` at the other scales."""
    spectra = []
    for scale in range(1, module.scales + 1):
        codes = matching_codes(module, scale)
        maps = [_constant_map(index, module.scales, i) for i, index in enumerate(codes, 1)]
        spectra.append(_middle(decode(module, maps)))
    return spectra


@torch.inference_mode()
def influence(module: SpectralAutoencoder) -> list[float]:
    """How much the codes of each scale change a decoded spectrum, S numbers: RMS deviation from their mean
    of the spectra of all codes of that scale, with the mean code at the other scales."""
    found = []
    for scale in range(1, module.scales + 1):
        n, queries = len(module.codes[scale - 1]), []
        for i, table in enumerate(module.codes, 1):
            codes = table if i == scale else table.mean(0).expand(n, -1)
            indices = _constant_map(torch.arange(n), module.scales, i)
            features = codes[indices].permute(0, 3, 1, 2)  # N D h h
            queries.append(Query(features, indices.reshape(-1), codes))
        side = 3 << module.scales
        spectra = _middle(module.reconstruction(queries, torch.empty(n, 1, side, side)))
        found.append(float((spectra - spectra.mean(0)).square().mean().sqrt()))
    return found


def _as_query(module: SpectralAutoencoder, place: int, indices: Tensor) -> Query:
    """Look-ups at scale ``place`` + 1 whose features are the codes themselves."""
    table = module.codes[place]
    return Query(table[indices].permute(0, 3, 1, 2), indices.reshape(-1), table)


def _constant_map(index: Tensor, scales: int, scale: int) -> Tensor:
    """(N,) -> maps (N, h, h) at ``scale`` of an image of 3 x 2^S pixels a side: no convolution reaches from
    the middle third of such an image to its edges, which are padded with zeros."""
    side = 3 << (scales - scale)
    return index[:, None, None].expand(-1, side, side)


def _constant_next(module: SpectralAutoencoder, scale: int) -> Tensor:
    """Features (N, D) at scale + 1 of constant maps of every code at ``scale``."""
    index = torch.arange(len(module.codes[scale - 1]))
    return _middle(next_features(module, scale, _constant_map(index, module.scales, scale)))


def _middle(maps: Tensor) -> Tensor:
    """(N, K, h, w) -> (N, K): the pixel in the middle."""
    return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]


@torch.inference_mode()
def codes_only_rmse(module: SpectralAutoencoder, cubes: Sequence[Tensor]) -> float:
    """Mean RMSE over ``cubes`` (C, H, W) of decoding their codes alone: a bound for every prior."""
    errors = [
        float((decode(module, encode(module, cube[None]))[0] - cube).square().nanmean().sqrt())
        for cube in cubes
    ]
    return sum(errors) / len(errors)
