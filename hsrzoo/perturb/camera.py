"""Another camera: the same scene, rendered by a response that is new to the model."""

from __future__ import annotations

import numpy as np

from hsrzoo.camera import Camera
from hsrzoo.colour.responses import STANDARD, response_names
from hsrzoo.datasets.base import pixels_with_data
from hsrzoo.perturb import DoesNotApplyError, Perturbed
from hsrzoo.spec import PerturbationContext, PerturbationSpec


def replace_camera(
    rgb: np.ndarray,
    cube: np.ndarray,
    response: str,
    generator: np.random.Generator,
    context: PerturbationContext,
) -> Perturbed:
    """RGB rendered from the cube (C, H, W) by ``response``, the cube unchanged.

    The gain is that of the protocol, one for each response: a cube of ones is white. Pixels that lack
    data stay black. ``info``: the response and ``rgb_rmse``, the root mean square change of RGB
    over pixels with data. DoesNotApplyError: the camera is the one that rendered the scene, or no pixel of
    the cube has all bands that it sees.
    """
    if response == context.response:
        raise DoesNotApplyError(f"The data set's own RGB is rendered by {response}: nothing would change")
    camera = Camera.named(response)
    absent = camera.sees(context.bands) & np.isnan(cube).all(axis=(1, 2))
    if absent.any():
        lacking = ", ".join(f"{nm:g}" for nm in np.asarray(context.bands.centres_nm)[absent])
        raise DoesNotApplyError(f"{response} cannot render a cube without values at {lacking} nm")
    image = camera.render(cube, context.bands, bits=context.rgb_bits)
    change = pixels_with_data(image.astype(np.float64) - rgb, cube)
    return image, cube, {"response": response, "rgb_rmse": float(np.sqrt(np.mean(change**2)))}


SPEC = PerturbationSpec(
    name="camera",
    apply=replace_camera,
    severities={name: name for name in response_names()},
    default=STANDARD,
    summary="RGB rendered by another camera, cube unchanged",
    needs_camera=True,
)
