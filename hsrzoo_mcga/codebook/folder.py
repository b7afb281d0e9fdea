"""Folders of codebooks on disk: one per stage-1 run, or one per mixture of several.

config.json                     schema, scales, latent width, sources with bands and records
codebooks/<scale>.safetensors   ``codes`` (N, D_i), the sources' rows one after another
autoencoders/<source>.safetensors  stage 1's weights without the codes
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError, InputError, WeightsError, require_known
from hsrzoo.models.building import Size
from hsrzoo.models.locate import resolve_folder
from hsrzoo.models.metadata import BANDS, read_object
from hsrzoo.models.tensors import load_tensors, require_finite, save_tensors
from hsrzoo.utils.files import CONFIG, make_folder, sha256_of_file, write_json
from hsrzoo.utils.json_kinds import TEXT, Each, Kind, Whole
from hsrzoo.utils.locks import hold_folder

SCHEMA = 1
_NAME = re.compile(r"(?!\.)[^/\\\x00]{1,200}")
"""Of a source: it is part of the name of a file."""
_MOST_CODES = 1 << 24
_RECORD: Kind = {
    "dataset?": TEXT,
    "split?": TEXT,
    "options?": Each(object),
    "scenes?": [str],
    "held_out?": [str],
    "mask?": str,
    "figures?": Each(float),
}
"""What is read of the record of a stage-1 run."""
_SOURCE: Kind = {
    "name": str,
    "bands": BANDS,
    "n_codes": Whole(1, _MOST_CODES),
    "first_code?": Whole(0, _MOST_CODES),
    "record": _RECORD,
}
_FIELDS: dict[str, Kind] = {
    "schema": int,
    "scales": Whole(1, 8),
    "latent": Whole(1, 1 << 16),
    "sources": [_SOURCE],
    "sha256": Each(str),
}


@dataclass(frozen=True)
class Source:
    """One stage-1 run inside a folder."""

    name: str
    bands: BandSet
    n_codes: int
    record: Mapping[str, Any]
    first_code: int = 0
    """Row of every codebook where its codes begin; sources that were trained on one pooled codebook share
    theirs."""

    @property
    def rows(self) -> slice:
        """Its codes in the codebooks of its folder."""
        return slice(self.first_code, self.first_code + self.n_codes)

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "bands": self.bands.to_json(), "record": dict(self.record)}


@dataclass(frozen=True)
class CodebookFolder:
    """A folder whose files were read and verified."""

    path: Path
    scales: int
    latent: int
    sources: tuple[Source, ...]
    sha256: dict[str, str]
    """File -> its digest, as verified."""

    @classmethod
    def read(cls, path: Path) -> CodebookFolder:
        """Read and verify a folder.

        Args:
            path: A folder, or ``hf-hub:ORG/NAME[@REVISION]``, which is fetched.

        Raises:
            WeightsError: If the folder is absent, incomplete or changed.
            HubError: If it cannot be fetched.
        """
        path = resolve_folder(path)
        config_file = path / CONFIG
        if not config_file.is_file():
            raise WeightsError(
                "This is not a folder of codebooks",
                expected=f"{config_file}, as written by hsrzoo codebook train or mix",
                got="no such file",
            )
        config = read_object(config_file, _FIELDS, SCHEMA, str(config_file), WeightsError)
        try:
            sources = _read_sources(config["sources"])
        except HsrzooError as error:
            raise WeightsError(f"{config_file} is not a codebook configuration", got=str(error)) from None
        folder = cls(path, config["scales"], config["latent"], sources, config["sha256"])
        folder.require_listed()
        for name, digest in folder.sha256.items():
            verify(path / name, digest)
        return folder

    def require_listed(self) -> None:
        """WeightsError unless there is a source, and the files with digests are those of this folder."""
        names = [source.name for source in self.sources]
        wanted = {_codes_file(i) for i in range(1, self.scales + 1)} | {_autoencoder_file(n) for n in names}
        bad = [name for name in names if not _NAME.fullmatch(name)]
        if bad or not names or wanted != set(self.sha256):
            different = sorted(wanted ^ set(self.sha256))[:4]
            got = f"a source named {bad[0][:40]!r}" if bad else f"a difference in {', '.join(different)}"
            raise WeightsError(
                f"{self.path / CONFIG} does not list its files",
                expected="sources, and the digests of their autoencoders and of the codes of all scales",
                got=got if names else "no source",
            )

    def codes(self) -> list[Tensor]:
        """The codebooks of scales 1 .. S, each (N, D_i) float32. Raises WeightsError where one is shorter
        than the sources say."""
        tables = [_read_codes(self.path / _codes_file(i)) for i in range(1, self.scales + 1)]
        last = max(source.rows.stop for source in self.sources)
        short = [len(table) for table in tables if len(table) < last]
        if short:
            raise WeightsError(
                f"The codebooks in {self.path} do not fit its {CONFIG}",
                expected=f"{last} codes at every scale",
                got=short[0],
            )
        return tables

    def size_of(self, source: Source) -> Size:
        """How much the files of one source hold."""
        files = [_codes_file(i) for i in range(1, self.scales + 1)]
        tables = [Size.of(self.path / file) for file in files]
        return sum(tables, Size.of(self.path / _autoencoder_file(source.name)))

    def autoencoder(self, source: Source) -> dict[str, Tensor]:
        """Stage 1's weights of one source, without its codes."""
        path = self.path / _autoencoder_file(source.name)
        state = load_tensors(path)
        require_finite(state, str(path))
        return state

    def source(self, name: str | None) -> Source:
        """The source called ``name``, or the only one. Raises UnknownNameError or InputError."""
        named = {s.name: s for s in self.sources}
        if name is None and len(named) > 1:
            raise InputError(
                f"{self.path} holds several sources", got=", ".join(named), fix="Choose one by --source"
            )
        if name is None:
            return self.sources[0]
        require_known(f"source in {self.path}", name, named)
        return named[name]

    def files_of(self, source: Source) -> dict[str, str]:
        """Files with the numbers of ``source`` -> their sha256."""
        others = {_autoencoder_file(s.name) for s in self.sources} - {_autoencoder_file(source.name)}
        return {file: digest for file, digest in self.sha256.items() if file not in others}


def require_source_name(name: str) -> None:
    """InputError unless a source may be called so: its name is part of the name of a file."""
    if not _NAME.fullmatch(name):
        raise InputError(
            "A source cannot have this name",
            expected="up to 200 characters without / and \\, the first no dot",
            got=repr(name[:40]),
        )


def verify(path: Path, digest: str | None, fix: str | None = None) -> None:
    """Raise WeightsError unless ``path`` is a file with the sha256 ``digest``."""
    found = sha256_of_file(path) if path.is_file() else "no such file"
    if found != digest:
        raise WeightsError(f"{path} is not the file that was saved", expected=digest, got=found, fix=fix)


def _read_sources(entries: Sequence[Mapping[str, Any]]) -> tuple[Source, ...]:
    """Sources as config.json lists them; folders of earlier versions hold them one after another."""
    found: list[Source] = []
    for s in entries:
        first = s.get("first_code", sum(other.n_codes for other in found))
        found.append(Source(s["name"], BandSet.from_json(s["bands"]), s["n_codes"], s["record"], first))
    return tuple(found)


def _read_codes(path: Path) -> Tensor:
    """The codes (N, D) of one scale. Raises WeightsError where the file holds anything else."""
    tensors = load_tensors(path)
    codes = tensors.get("codes")
    if codes is None or codes.ndim != 2 or not codes.is_floating_point():
        got = ", ".join(f"{key} {tuple(t.shape)} {t.dtype}" for key, t in list(tensors.items())[:4])
        raise WeightsError(
            f"{path} is not a codebook", expected="codes (N, D), floating-point", got=got or "no tensors"
        )
    require_finite(tensors, str(path))
    return codes


def _codes_file(scale: int) -> str:
    return f"codebooks/{scale}.safetensors"


def _autoencoder_file(source: str) -> str:
    return f"autoencoders/{source}.safetensors"


def write(
    path: Path,
    codes: Sequence[Tensor],
    autoencoders: Mapping[str, Mapping[str, Tensor]],
    sources: Sequence[Source],
    latent: int,
) -> None:
    """Write a folder; config.json comes last, so an interrupted write leaves no folder of codebooks.

    Raises LockedError if another process is writing it.
    """
    make_folder(path)
    with hold_folder(path):
        digests = {}

        def save(name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            save_tensors(path / name, tensors, metadata)
            digests[name] = sha256_of_file(path / name)

        for i, table in enumerate(codes, 1):
            save(_codes_file(i), {"codes": table}, {"scale": i})
        for name, state in autoencoders.items():
            save(_autoencoder_file(name), state, {"source": name})
        config = {
            "schema": SCHEMA,
            "scales": len(codes),
            "latent": latent,
            "sources": [s.to_json() for s in sources],
            "sha256": digests,
        }
        write_json(path / CONFIG, config)


def mix(folders: Sequence[CodebookFolder], path: Path, target: BandSet | None = None) -> CodebookFolder:
    """Write the mixture of codebooks: the rows of every folder's codebooks, in the order given.

    Args:
        folders: The folders to be mixed.
        path: The folder to write.
        target: Leave out the sources that have no band within its range.

    Raises:
        InputError: If no source is left, or ``path`` is one of the folders.
        WeightsError: If codebooks cannot be joined.
    """
    _require_one_width(folders)
    kept = [(f, s) for f in folders for s in f.sources if target is None or has_band_in(s.bands, target)]
    if not kept:
        raise _no_source([s for f in folders for s in f.sources], target)
    names = [s.name for _, s in kept]
    if len(set(names)) < len(names):
        raise WeightsError("A mixture can hold a source only once", got=", ".join(names))
    if any(f.path.resolve() == path.resolve() for f in folders):
        raise InputError(f"{path} is one of the folders to be mixed", fix="Give another --out")
    blocks: list[list[Tensor]] = []
    sources: list[Source] = []
    rows = 0
    for folder in folders:
        own = [s for f, s in kept if f is folder]
        first_rows, codes = {}, folder.codes()
        for source in own:  # those of a pooled codebook share one block
            key = (source.first_code, source.n_codes)
            if key not in first_rows:
                first_rows[key] = rows
                blocks.append([table[source.rows] for table in codes])
                rows += source.n_codes
            sources.append(replace(source, first_code=first_rows[key]))
    states = {s.name: f.autoencoder(s) for f, s in kept}
    joined = [torch.cat(parts) for parts in zip(*blocks, strict=True)]
    write(path, joined, states, sources, folders[0].latent)
    return CodebookFolder.read(path)


def has_band_in(bands: BandSet, target: BandSet) -> bool:
    """Whether a centre of ``bands`` lies between the outermost centres of ``target``."""
    low, high = min(target.centres_nm), max(target.centres_nm)
    return any(low <= centre <= high for centre in bands.centres_nm)


def _require_one_width(folders: Sequence[CodebookFolder]) -> None:
    for other in folders[1:]:
        first = folders[0]
        if (other.scales, other.latent) != (first.scales, first.latent):
            raise WeightsError(
                "Codebooks of different widths cannot be mixed",
                expected=f"{first.scales} scales, latent {first.latent} ({first.path})",
                got=f"{other.scales} scales, latent {other.latent} ({other.path})",
                fix="Train them with equal --scales and --latent",
            )


def _no_source(sources: Sequence[Source], target: BandSet | None) -> InputError:
    if target is None or not sources:
        return InputError(
            "A mixture needs at least one source", got="none", fix="Name folders made by codebook train"
        )
    return InputError(
        "None of these sources has a band in the range that the mixture is for",
        expected=f"a band within that of {target}",
        got="; ".join(f"{s.name}: {s.bands}" for s in sources),
    )
