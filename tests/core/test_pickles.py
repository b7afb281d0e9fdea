"""Checkpoints of strangers: what torch.save writes is read; of anything else nothing runs."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hsrzoo.errors import WeightsError
from hsrzoo.models.pickles import read_pickle


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU())


def checkpoint() -> dict:
    """As a trainer saves it: the optimiser has made steps, its groups hold numbers, None and flags."""
    net = network()
    optimiser = torch.optim.Adam(net.parameters(), lr=4e-4)
    net(torch.rand(1, 3, 5, 5)).sum().backward()
    optimiser.step()
    return {"epoch": 12, "iter": 300_000, "best": 0.17, "state_dict": net.state_dict(),
            "optimizer": optimiser.state_dict()}  # fmt: skip


class Calls:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream before torch 1.6"])
def test_a_trainers_checkpoint_comes_back(tmp_path, zipped):
    saved = checkpoint()
    torch.save(saved, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    found = read_pickle(tmp_path / "net.pth")
    assert (found["epoch"], found["iter"], found["best"]) == (12, 300_000, 0.17)
    assert list(found["state_dict"]) == list(saved["state_dict"])
    assert all(torch.equal(found["state_dict"][k], v) for k, v in saved["state_dict"].items())
    steps = saved["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(found["optimizer"]["state"][0]["exp_avg"], steps)


def test_parameters_half_precision_and_views_come_back(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    saved = OrderedDict(p=nn.Parameter(whole.clone()), h=whole.half(), b=whole.bfloat16(), view=whole.T[1:],
                        n=torch.tensor(7))  # fmt: skip
    torch.save(saved, tmp_path / "a.pth")
    found = read_pickle(tmp_path / "a.pth")
    assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype
               for key, value in saved.items())  # fmt: skip


SYSTEM = f"{os.system.__module__}.system"
HOSTILE = {
    "os.system": (lambda trace: Calls(os.system, f"touch {trace}"), SYSTEM),
    # protocol 2 writes the names of Python 2: builtins is __builtin__
    "eval": (lambda trace: Calls(eval, f"open({str(trace)!r}, 'w')"), "__builtin__.eval"),
    "exec": (lambda trace: Calls(exec, f"open({str(trace)!r}, 'w')"), "__builtin__.exec"),
    "open": (lambda trace: Calls(open, str(trace), "w"), f"{open.__module__}.open"),
    "getattr": (lambda trace: Calls(getattr, Calls(__import__, "os"), "system"), "__builtin__.__import__"),
    "torch.load": (lambda trace: Calls(torch.load, str(trace)), "torch.serialization.load"),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("where", ["alone", "in the state dict", "in the optimiser", "as a key"])
def test_a_hostile_checkpoint_is_refused_by_name_and_does_nothing(tmp_path, what, where, zipped):
    trace = tmp_path / "trace"
    make, name = HOSTILE[what]
    payload, saved = make(trace), checkpoint()
    if where == "alone":
        saved = payload
    elif where == "in the state dict":
        saved["state_dict"]["0.extra"] = payload
    elif where == "as a key":
        saved[payload] = 1
    else:
        saved["optimizer"]["param_groups"][0]["hook"] = [{"deep": payload}]
    path = tmp_path / "net.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError) as refused:
        read_pickle(path)
    assert name in str(refused.value) and "was not read" in str(refused.value)
    assert not trace.exists()


def test_the_hostile_files_of_these_tests_really_are(tmp_path):
    """Else the test above could not fail."""
    trace = tmp_path / "trace"
    torch.save({"optimizer": Calls(os.system, f"touch {trace}")}, tmp_path / "net.pth")
    torch.load(tmp_path / "net.pth", weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_bare_hostile_pickle_is_refused_by_name(tmp_path, protocol):
    trace, path = tmp_path / "trace", tmp_path / "net.pkl"
    path.write_bytes(pickle.dumps([Calls(os.system, f"touch {trace}")], protocol))
    with pytest.raises(WeightsError, match=re.escape(SYSTEM)):
        read_pickle(path)
    assert not trace.exists()


def zip_with(path: Path, program: bytes, *, name: str = "net/data.pkl", compression: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, program)
        archive.writestr("net/version", "3\n")
    return path


HAND_WRITTEN = {
    "INST": (b"\x80\x02(S'true'\niposix\nsystem\n.", "posix.system"),
    "OBJ": (b"\x80\x02(cposix\nsystem\nS'true'\no.", "posix.system"),
    "NEWOBJ": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
    "EXT1": (b"\x80\x02\x82\x01.", "EXT1"),
    "STACK_GLOBAL": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "posix.system"),
    "a name with dots": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "__globals__"),
    "after an allowed one": (b"\x80\x02ccollections\nOrderedDict\n)R0cposix\nsystem\n.", "posix.system"),
}  # fmt: skip


@pytest.mark.parametrize("what", HAND_WRITTEN)
def test_every_other_way_to_a_call_is_refused(tmp_path, what):
    program, told = HAND_WRITTEN[what]
    with pytest.raises(WeightsError) as refused:
        read_pickle(zip_with(tmp_path / "net.pth", program))
    assert told in str(refused.value) and "was not read" in str(refused.value)


def test_allowed_names_cannot_be_called_on_what_they_are_not_for(tmp_path):
    """Looked through it is harmless; torch refuses to make a tensor of text."""
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(U\x04textU\x04texttR."
    with pytest.raises(WeightsError, match="damaged"):
        read_pickle(zip_with(tmp_path / "net.pth", program))


def test_attributes_of_an_allowed_function_cannot_be_set(tmp_path):
    before = dict(vars(torch._utils._rebuild_tensor_v2))
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}U\x01aU\x01bsb."
    with pytest.raises(WeightsError, match="asks for more than tensors, and was not read") as refused:
        read_pickle(zip_with(tmp_path / "net.pth", program))
    assert vars(torch._utils._rebuild_tensor_v2) == before
    assert "weights_only" not in str(refused.value)  # nobody is told how to switch the protection off


NESTED = {
    "one in the other": b"\x85" * 200_000,
    "with numbers between": b"K\x00\x86" * 200_000,
    "by way of the memo": b"q\x00h\x00\x86" * 100,  # few instructions, 2^100 tuples
    "behind a mark": b"q\x00(h\x00t" * 200,
}


@pytest.mark.parametrize("what", NESTED)
def test_keys_that_would_take_the_process_down_are_refused(tmp_path, what):
    program = b"\x80\x02})" + NESTED[what] + b"K\x01s."
    with pytest.raises(WeightsError, match="more than 100 nested tuples"):
        read_pickle(zip_with(tmp_path / "net.pth", program))


def test_many_tuples_beside_each_other_are_read(tmp_path):
    saved = {"pairs": [(i, (i, i)) for i in range(500)], (1, (2, 3)): torch.ones(2), "row": (0,) * 500}
    torch.save(saved, tmp_path / "net.pth")
    found = read_pickle(tmp_path / "net.pth")
    assert found["pairs"] == saved["pairs"] and found["row"] == saved["row"]
    assert torch.equal(found[1, (2, 3)], torch.ones(2))


def test_names_that_are_merely_unusual_are_told_too(tmp_path):
    saved = {**checkpoint(), "best": np.float64(0.2), "args": Path("x")}
    torch.save(saved, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"multiarray\.scalar.*pathlib.*state_dict alone"):
        read_pickle(tmp_path / "net.pth")


def test_a_whole_network_in_a_pickle_is_refused(tmp_path):
    torch.save(network(), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"torch\.nn\.modules\.container\.Sequential"):
        read_pickle(tmp_path / "net.pth")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_told_to_be_damaged(tmp_path, share, zipped):
    file = io.BytesIO()
    torch.save(checkpoint(), file, _use_new_zipfile_serialization=zipped)
    data = file.getvalue()
    (tmp_path / "net.pth").write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError, match=r"damaged or cut off.*Fetch it again"):
        read_pickle(tmp_path / "net.pth")


@pytest.mark.parametrize("second", ["other/DATA.PKL", "net/constants.pkl"], ids=["any", "TorchScript"])
def test_two_programs_in_one_archive_are_refused(tmp_path, second):
    path = zip_with(tmp_path / "net.pth", pickle.dumps({}, 2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(second, pickle.dumps(Calls(os.system, "true"), 2))
    with pytest.raises(WeightsError, match=r"not one that torch\.save wrote"):
        read_pickle(path)


def test_a_compressed_archive_is_refused_unopened(tmp_path):
    """It could be a thousand times larger inside."""
    path = zip_with(tmp_path / "net.pth", pickle.dumps({}, 2), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="nothing compressed"):
        read_pickle(path)


def test_other_files_are_told_from_checkpoints(tmp_path):
    (tmp_path / "text.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "empty.pth").write_bytes(b"")
    save_file({"a": torch.zeros(2)}, tmp_path / "tensors.pth")
    for name in ("text.pth", "empty.pth", "tensors.pth"):
        with pytest.raises(WeightsError, match=r"is not a checkpoint.*named \.safetensors"):
            read_pickle(tmp_path / name)
    for name in (".", "absent.pth"):
        with pytest.raises(WeightsError, match="missing"):
            read_pickle(tmp_path / name)
