"""U-Nets on timm's backbones: encoders by argument, pretrained weights without a network."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError, PluginError, UnknownNameError, WeightsError
from hsrzoo.models.weights import load_module, read_config, save_folder
from hsrzoo.spec import build_module
from hsrzoo_baselines.timm_unet import CONVNEXT, MOBILENETV3, SPEC, build

FEW = BandSet.of((450.0, 550.0, 650.0))
SIZES = [(SPEC, 11_828_607), (MOBILENETV3, 1_401_695), (CONVNEXT, 3_749_367)]
SLOW = ("export", "onnx")


@pytest.fixture(scope="module")
def timm():
    """Imported where it is needed: it takes seconds, and every process of pytest reads this file."""
    return importlib.import_module("timm")


def test_exported_it_runs_at_another_size():
    module = build(FEW, encoder="test_resnet").eval()
    free = {axis: 32 * torch.export.Dim(name, min=2) for axis, name in ((2, "h"), (3, "w"))}
    with torch.no_grad():
        program = torch.export.export(module, (torch.rand(1, 3, 64, 96),), dynamic_shapes={"rgb": free})
        rgb = torch.rand(1, 3, 128, 64)
        assert torch.allclose(program.module()(rgb), module(rgb), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_efficientnet", "regnetx_002.pycls_in1k"])
def test_another_encoder_by_argument(encoder, timm):
    """Features from 1/4 or from 1/2 of the resolution on; a name with the tag of its weights."""
    module = build_module(SPEC, FEW, {"encoder": encoder}).eval()
    with torch.no_grad():
        assert module(torch.rand(2, 3, 64, 32)).shape == (2, 3, 64, 32)
    expected = timm.create_model(encoder, features_only=True).state_dict()
    assert list(module.encoder.state_dict()) == list(expected)


def test_features_of_all_resolutions_reach_the_cube():
    module = build(FEW, encoder="test_resnet").eval()
    maps = []

    def keep(encoder, given, found):
        for x in found:
            x.retain_grad()
        maps.extend(found)

    module.encoder.register_forward_hook(keep)
    module(torch.rand(1, 3, 64, 64)).sum().backward()
    assert [x.shape[-1] for x in maps] == [32, 16, 8, 4, 2]
    assert all(x.grad.any() for x in maps)


def test_encoder_sees_rgb_as_its_weights_expect_it(timm):
    module = build(FEW, encoder="test_resnet").eval()
    seen = []
    module.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    mean, std = (timm.get_pretrained_cfg_value("test_resnet", key) for key in ("mean", "std"))
    rgb = torch.tensor(mean).view(1, 3, 1, 1) + torch.tensor(std).view(1, 3, 1, 1) * 2
    module(rgb.expand(1, 3, 32, 32))
    assert torch.allclose(seen[0], torch.full((1, 3, 32, 32), 2.0), atol=1e-5)


def test_unknown_encoder_names_the_nearest():
    with pytest.raises(UnknownNameError, match="resnet18"):
        build(FEW, encoder="resnet-18")


def test_encoder_of_one_image_size_is_refused():
    with pytest.raises(InputError, match=r"test_vit3 .*any size"):
        build(FEW, encoder="test_vit3")


def test_encoder_whose_maps_are_not_channels_first_is_refused():
    with pytest.raises(InputError, match=r"test_mambaout .*\(1, 16, 24, 16\)"):
        build(FEW, encoder="test_mambaout")


@pytest.fixture
def fetches(monkeypatch, timm):
    """Which pretrained weights were asked for; ones stand in for them."""
    asked, create = [], timm.create_model

    def offline(name, pretrained=False, **kwargs):
        network = create(name, **kwargs)
        if pretrained:
            asked.append(name)
            with torch.no_grad():
                network.conv1[0].weight.fill_(1.0)
        return network

    monkeypatch.setattr(timm, "create_model", offline)
    return asked


def test_pretrained_weights_are_taken_on_request_alone(fetches):
    assert not (build(FEW, encoder="test_resnet").encoder.conv1[0].weight == 1).all()
    assert fetches == []
    assert (build(FEW, encoder="test_resnet", pretrained=True).encoder.conv1[0].weight == 1).all()
    assert fetches == ["test_resnet"]


def test_saved_weights_of_a_pretrained_start_load_without_fetching(fetches, tmp_path):
    arguments = {"encoder": "test_resnet", "pretrained": True}
    module = build_module(SPEC, FEW, arguments)
    with torch.no_grad():
        module.encoder.conv1[0].weight.fill_(0.5)
    save_folder(tmp_path, module, SPEC, FEW, arguments=arguments, training={})
    fetches.clear()
    config = read_config(tmp_path)
    loaded, _ = load_module(tmp_path, SPEC, config)
    assert fetches == []
    assert (loaded.encoder.conv1[0].weight == 0.5).all()
    assert config["arguments"]["pretrained"] is True


def test_pretrained_weights_that_cannot_be_had_are_an_error(monkeypatch, timm):
    create = timm.create_model

    def no_connection(name, pretrained=False, **kwargs):
        if pretrained:
            raise ConnectionError("no route to host")
        return create(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", no_connection)
    with pytest.raises(WeightsError, match=r"test_resnet.*no route to host.*omit pretrained"):
        build(FEW, encoder="test_resnet", pretrained=True)


def test_backbone_without_pretrained_weights_is_an_error():
    with pytest.raises(WeightsError, match="No pretrained weights exist"):
        build(FEW, encoder="mobilenetv2_035", pretrained=True)


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(PluginError, match=r'pip install "hsrzoo\[timm\]"'):
        build(BandSet.regular(400, 700, 100), "resnet18", False)
