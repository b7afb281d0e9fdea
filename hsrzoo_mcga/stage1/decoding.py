"""Stage 1 with codes alone: cubes to maps of code indices and back, and what one code looks like.

Algorithm 2 joins each code with the feature that it stands for. Where there is no cube, there is no
such feature: the code takes its place, H_i := the code. Beyond scale 1 nothing needs to be guessed
either, for algorithm 1 computes the features of scale i + 1 from the codes of scale i.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hsrzoo.errors import InputError, unknown_name
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source
from hsrzoo_mcga.codebook.lookup import Query
from hsrzoo_mcga.codebook.search import nearest_code
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder, upsample

Maps = list[Tensor]
"""Indices of the codes at scales 1 .. S, each (B, H/2^i, W/2^i) int64."""


def find_source(folder: CodebookFolder, name: str | None) -> Source:
    """The source called ``name``, or the only one. Raises UnknownNameError or InputError."""
    names = [s.name for s in folder.sources]
    if name is None:
        if len(names) > 1:
            raise InputError(
                f"{folder.path} holds several sources", got=", ".join(names), fix="Choose one by --source"
            )
        return folder.sources[0]
    if name not in names:
        raise unknown_name(f"source in {folder.path}", name, names)
    return folder.sources[names.index(name)]


def files_of(folder: CodebookFolder, source: Source) -> dict[str, str]:
    """Files of the folder that hold this source's numbers -> their sha256."""
    own = f"autoencoders/{source.name}.safetensors"
    return {k: v for k, v in folder.sha256.items() if k.startswith("codebooks/") or k == own}


def trained(folder: CodebookFolder, source: Source) -> SpectralAutoencoder:
    """One source's autoencoder with its own codes, as stage 1 left it."""
    mask = source.record.get("mask", "by-band")
    module = SpectralAutoencoder(len(source.bands), folder.scales, folder.latent, source.n_codes, mask)
    codes = {f"codes.{i}": table[source.rows] for i, table in enumerate(folder.codes())}
    module.load_state_dict({**folder.autoencoder(source), **codes})
    return module.eval()


def all_bands(module: SpectralAutoencoder) -> Tensor:
    """Every band visible (1, C), or the even mask where the lift knows only so many."""
    return torch.arange(module.bands)[None] if module.mask == "by-band" else module.even_mask(1)


def to_maps(module: SpectralAutoencoder, cubes: Tensor) -> Maps:
    """Code indices of ``cubes`` (B, C, H, W), whose sides are multiples of 2^S; NaN counts as 0."""
    queries = module.encode(cubes.nan_to_num(0.0), all_bands(module).expand(len(cubes), -1))
    return [q.indices.view(len(cubes), *q.features.shape[-2:]) for q in queries]


def to_cubes(module: SpectralAutoencoder, maps: Maps) -> Tensor:
    """Algorithm 2 with H_i := the code: indices to (B, C, H, W) float32, H twice the height of scale 1."""
    queries = [_as_query(module, i, indices) for i, indices in enumerate(maps)]
    b, h, w = maps[0].shape
    return module.reconstruction(queries, torch.empty(b, 1, 2 * h, 2 * w))


def next_features(module: SpectralAutoencoder, scale: int, indices: Tensor) -> Tensor:
    """What algorithm 1 makes of the codes at ``scale`` (1 .. S - 1), ``indices`` (B, h, w): the features
    of scale + 1, (B, D, h/2, w/2)."""
    b, h, w = indices.shape
    full = torch.empty(b, 1, h << scale, w << scale)
    codes = _as_query(module, scale - 1, indices).codes_map()
    return module.down[scale](module.back[scale - 1](upsample(codes, full)))


def coarser_map(module: SpectralAutoencoder, scale: int, indices: Tensor) -> Tensor:
    """The indices at scale + 1 that belong to those at ``scale``, (B, h, w) -> (B, h/2, w/2)."""
    features = next_features(module, scale, indices)
    rows = features.permute(0, 2, 3, 1)
    return nearest_code(rows.reshape(-1, rows.shape[-1]), module.codes[scale]).view(rows.shape[:3])


def companions(module: SpectralAutoencoder, scale: int) -> Maps:
    """For each code of ``scale`` (1 .. S) the code that goes with it at every scale, S tensors (N,).

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


def code_spectra(module: SpectralAutoencoder) -> list[Tensor]:
    """Every code of every scale as a spectrum, S tensors (N, C) float32: the middle of a constant map of
    the code, with its :func:`companions` at the other scales."""
    spectra = []
    with torch.inference_mode():
        for scale in range(1, module.scales + 1):
            chosen = companions(module, scale)
            maps = [_constant(index, module.scales, i) for i, index in enumerate(chosen, 1)]
            spectra.append(_middle(to_cubes(module, maps)))
    return spectra


@torch.inference_mode()
def influence(module: SpectralAutoencoder) -> list[float]:
    """How much the codes of each scale move a decoded spectrum, S numbers: RMS deviation from their mean of
    the spectra of all codes of that scale, those of the others being at the mean of their table."""
    found = []
    for scale in range(1, module.scales + 1):
        n, queries = len(module.codes[scale - 1]), []
        for i, table in enumerate(module.codes, 1):
            codes = table if i == scale else table.mean(0).expand(n, -1)
            side = 3 << (module.scales - i)
            features = codes[:, :, None, None].expand(-1, -1, side, side)
            queries.append(Query(features, torch.arange(n).repeat_interleave(side * side), codes))
        side = 3 << module.scales
        spectra = _middle(module.reconstruction(queries, torch.empty(n, 1, side, side)))
        found.append(float((spectra - spectra.mean(0)).square().mean().sqrt()))
    return found


def _as_query(module: SpectralAutoencoder, place: int, indices: Tensor) -> Query:
    """Look-ups at scale ``place`` + 1 whose features are the codes themselves."""
    table = module.codes[place]
    return Query(table[indices].permute(0, 3, 1, 2), indices.reshape(-1), table)


def _constant(index: Tensor, scales: int, scale: int) -> Tensor:
    """(N,) -> maps (N, h, h) at ``scale`` of an image of 3 x 2^S pixels a side: the middle third of such an
    image is out of the reach of its edges, which convolutions pad with zeros."""
    side = 3 << (scales - scale)
    return index[:, None, None].expand(-1, side, side)


def _constant_next(module: SpectralAutoencoder, scale: int) -> Tensor:
    """Features (N, D) at scale + 1 of constant maps of every code at ``scale``."""
    index = torch.arange(len(module.codes[scale - 1]))
    return _middle(next_features(module, scale, _constant(index, module.scales, scale)))


def _middle(maps: Tensor) -> Tensor:
    """(N, K, h, w) -> (N, K): the pixel in the middle."""
    return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]


def crop_to_codes(cube: Tensor, module: SpectralAutoencoder) -> Tensor:
    """(C, H, W) with sides that are multiples of 2^S."""
    m = 1 << module.scales
    return cube[:, : cube.shape[1] // m * m, : cube.shape[2] // m * m]


def codes_only_rmse(module: SpectralAutoencoder, cubes: Sequence[Tensor]) -> float:
    """Mean RMSE over ``cubes`` (C, H, W) of what their codes alone give: no prior can do better."""
    errors = []
    with torch.inference_mode():
        for cube in cubes:
            restored = to_cubes(module, to_maps(module, cube[None]))[0]
            errors.append(float((restored - cube).square().nanmean().sqrt()))
    return sum(errors) / len(errors)
