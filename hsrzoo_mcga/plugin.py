"""The four MCGA variants as ModelSpecs; importing this module imports no torch."""

from __future__ import annotations

from hsrzoo.spec import ModelSpec, Recipe, RgbInput

_SOURCE = (
    "Yang, Sun, Dong, An, Liu, Li: MCGA, Mixture of Codebooks Hyperspectral Reconstruction via "
    "Grayscale-Aware Attention, 2025. Clean-room implementation: the authors published no code"
)
# the same capacity spread over 1 to 4 scales: width doubles once, then stays
_WIDTHS = {
    1: ((72,), (3,)),
    2: ((48, 96), (1, 2)),
    3: ((48, 72, 72), (1, 1, 1)),
    4: ((40, 64, 64, 64), (1, 1, 1, 1)),
}


def _spec(scales: int) -> ModelSpec:
    widths, blocks = _WIDTHS[scales]
    return ModelSpec(
        name=f"mcga-s{scales}",
        build="hsrzoo_mcga.stage2.build:build",
        summary=f"Mixture of codebooks with grayscale-aware attention, {scales} scale{'s' * (scales > 1)}",
        use=(
            "MCGA as published; large images"
            if scales == 2
            else "the paper's comparison of numbers of scales"
        ),
        source=_SOURCE,
        licence="MIT",
        arguments={"widths": widths, "blocks": blocks},
        input=RgbInput(multiple=1 << scales, min_size=1 << scales),
        recipe=Recipe(),
        default_tag="cave" if scales == 2 else None,
        tags=("mcga", "codebook", "attention"),
        start="hsrzoo_mcga.stage2.build:start",
        adapt="hsrzoo_mcga.adaptation:adapt",
        features="hsrzoo_mcga.stage2.features:brightness_features",
        # the attention's table of code frequencies from every 2nd or 4th row and column; and a control:
        # each code that is found is replaced by another one
        variants={**{f"counts-{n}": {"count_stride": n} for n in (2, 4)}, "permuted": {"permuted": True}},
    )


MCGA_S1, MCGA_S2, MCGA_S3, MCGA_S4 = map(_spec, _WIDTHS)

MCGA_PLUS = ModelSpec(
    name="mcga-plus",
    build="hsrzoo.models.ensemble.network:build",
    summary="Mean of mcga-s2 and pixel-mlp",
    use="accuracy in spectra, with intervals",
    source=f"{_SOURCE}; pixel-mlp: hsrzoo",
    licence="MIT",
    arguments={"members": ("mcga-s2", "pixel-mlp")},
    input=MCGA_S2.input,
    default_tag="cave",
    tags=("mcga", "codebook", "attention", "ensemble"),
    notes="Both members are trained separately and joined by `hsrzoo ensemble --arch mcga-plus`. Unlike "
    "mcga-s2.cave, the network of mcga-plus.cave learns spectra relative to the brightness and normalises "
    "its features.",
)
