"""Completion: what real shells make of a half-typed line, and what the program answers them."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from hsrzoo.cli import completion
from hsrzoo.cli.main import cli
from waiting import LONG, best_of

SCRIPT = Path(sys.executable).with_name("hsrzoo")
SHELLS = ("bash", "zsh", "fish")
CONTROL_A = "\x01"


def environment(home: Path) -> dict[str, str]:
    """Variables of a user without any settings, in whose PATH hsrzoo is."""
    path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "TERM": "xterm", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}


def asked(shell: str, line: str) -> dict[str, str]:
    """The variables that a shell's script sets when Tab is pressed at the end of ``line``."""
    words = line.split(" ")
    current = words[-1] if shell == "fish" else str(len(words) - 1)
    return {
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": current,
        "_HSRZOO_COMPLETE": f"{shell}_complete",
    }


def in_process(line: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """What the program itself replies to bash."""
    env = {**environment(folder), **asked("bash", line), **more}
    return subprocess.run([SCRIPT], cwd=folder, env=env, capture_output=True, text=True, timeout=LONG)


def values(shell: str, reply: str) -> list[str]:
    """The values of a reply, without their types and helps."""
    lines = reply.splitlines()
    if shell == "zsh":
        return lines[1::3]
    return [text.partition(",")[2].partition("\t")[0] for text in lines]


def names(group: str, start: str = "") -> list[str]:
    return sorted({e.name for e in entry_points(group=group) if e.name.startswith(start)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with weights, a folder on the way to some, an exported file and a photograph."""
    for name in ("weights.cave", "runs/one", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("weights.cave/config.json", "mcga.onnx", "photo.png"):
        (tmp_path / name).touch()
    return tmp_path


Ask = Callable[[str, str], str]
Offered = Callable[..., list[str]]


@pytest.fixture
def ask(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """``ask("bash", line)``: the reply, made in this process; nothing may stand beside it."""

    def reply(shell: str, line: str) -> str:
        for name, value in asked(shell, line).items():
            monkeypatch.setenv(name, value)
        assert completion.answer(cli, os.environ) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    monkeypatch.chdir(folder)
    return reply


@pytest.fixture
def offered(ask: Ask) -> Offered:
    """``offered(line, shell)``: the values of the reply."""
    return lambda line, shell="bash": values(shell, ask(shell, line))


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_and_options_and_names_are_offered(shell: str, offered: Offered) -> None:
    assert offered("hsrzoo co", shell) == names("hsrzoo.commands", "co")
    assert offered("hsrzoo data ver", shell) == ["verify"]
    assert offered("hsrzoo fit --data", shell) == ["--dataset", "--data-option", "--data-root"]
    assert offered("hsrzoo bench --dataset ", shell) == names("hsrzoo.datasets")
    assert offered("hsrzoo show linear", shell) == ["linear", *names("hsrzoo.weights", "linear")]


@pytest.mark.parametrize("line", ["train ", "fit ", "convert x --arch "])
def test_architectures_where_an_architecture_is_meant(line: str, offered: Offered) -> None:
    assert offered(f"hsrzoo {line}") == names("hsrzoo.models")


@pytest.mark.parametrize(
    "line", ["predict x --model ", "bench --model ", "compare linear ", "check ", "export "]
)
def test_models_with_their_tags_and_other_places(line: str, offered: Offered) -> None:
    known = sorted(names("hsrzoo.models") + names("hsrzoo.weights"))
    assert offered(f"hsrzoo {line}") == [*known, "local-dir:", "onnx:", "hf-hub:"]


def test_metrics_after_a_comma_and_benchmarks_of_each_command(offered: Offered) -> None:
    assert offered("hsrzoo bench --metrics mrae,s") == ["mrae,sam", "mrae,sam-lit", "mrae,ssim"]
    bench, compare = (offered(f"hsrzoo {c} --bench ") for c in ("bench", "compare a b"))
    assert {*names("hsrzoo.perturbations"), "accuracy", "brightness", "all", "speed"} == set(bench)
    assert set(bench) - set(compare) == {"speed"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_local_folders_and_exported_files(shell: str, offered: Offered, ask: Ask, folder: Path) -> None:
    at = "hsrzoo predict photo.png --model "
    assert offered(at + "local-dir:", shell) == ["local-dir:runs/", "local-dir:weights.cave"]
    assert offered(at + "local-dir:runs/", shell) == ["local-dir:runs/one/"]
    assert offered(f"{at}local-dir:{folder}/we", shell) == [f"local-dir:{folder}/weights.cave"]
    assert offered(at + "onnx:mc", shell) == ["onnx:mcga.onnx"]
    nowhere = ask(shell, at + "local-dir:nowhere/x").replace("\n", ",")
    assert nowhere.startswith("file,local-dir:nowhere/x")


def test_bash_gets_what_follows_its_last_break(offered: Offered) -> None:
    """bash hands over ``--model=local-dir:we`` in five words and replaces the last one alone."""
    at = "hsrzoo predict photo.png --model"
    assert offered(f"{at} local-dir :") == ["runs/", "weights.cave"]
    assert offered(f"{at} local-dir : we") == ["weights.cave"]
    assert offered(f"{at} = local-dir : we") == ["weights.cave"]
    assert offered(f"{at} = hscnn-plus.") == ["hscnn-plus.cave"]
    assert offered(f"{at} 'local-dir:we") == ["local-dir:weights.cave"]
    assert offered(f"{at} local-dir : weights.cave --dty") == ["--dtype"]


def test_files_where_no_name_fits(ask: Ask) -> None:
    assert ask("bash", "hsrzoo predict pho") == "file,pho\n"
    assert ask("bash", "hsrzoo predict --no-such") == "\n"


def test_a_line_that_makes_no_sense_stays_undisturbed(ask: Ask) -> None:
    """The fixture fails for a word on stderr."""
    assert ask("bash", "hsrzoo nonsense pre") == "plain,predict\n"
    assert ask("bash", "hsrzoo bench --nonsense x ") == "file,\n"
    assert ask("bash", "hsrzoo predict 'unclosed") == "file,unclosed\n"


def test_a_broken_plugin_spoils_nothing_and_plugin_files_are_not_run(folder: Path) -> None:
    package = folder / "package" / "broken-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[hsrzoo.commands]\nbroken = no_such_module:x\n[hsrzoo.models]\nbroken-net = no_such_module:y\n"
    )
    (folder / "plugin.py").write_text("open('it-ran', 'w')\n")
    more = {"PYTHONPATH": str(folder / "package"), "HSRZOO_PLUGINS": str(folder / "plugin.py")}
    lines = ("hsrzoo bro", "hsrzoo show bro", "hsrzoo broken ")
    command, model, inside = (in_process(line, folder, **more) for line in lines)
    assert (command.stdout, model.stdout) == ("plain,broken\n", "plain,broken-net\n")
    assert (inside.returncode, inside.stdout, inside.stderr) == (1, "", "")
    assert not (folder / "it-ran").exists()


def test_no_command_needs_torch_to_complete_and_a_tab_is_quick(folder: Path) -> None:
    """All commands in one process, then one Tab as a shell asks for it."""
    code = """
import os, sys
from hsrzoo.cli.completion import answer
from hsrzoo.cli.main import cli
for name in sys.argv[1:]:
    os.environ.update(COMP_WORDS=f"hsrzoo {name} --", COMP_CWORD="2", _HSRZOO_COMPLETE="bash_complete")
    assert answer(cli, os.environ) == 0, name
print(*(m for m in ("torch", "timm", "matplotlib", "huggingface_hub", "h5py") if m in sys.modules), "end")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *installed_commands()],
        env=environment(folder), capture_output=True, text=True, timeout=LONG, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "end"

    def cpu_seconds() -> float:
        before = os.times()
        assert "plain,mcga-s2\n" in in_process("hsrzoo bench --model mcga-s", folder).stdout
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system

    assert best_of(cpu_seconds, below=1.5) < 1.5


def installed_commands() -> list[str]:
    """Commands of our own package whose module is there."""
    from importlib.util import find_spec

    own = [e for e in entry_points(group="hsrzoo.commands") if e.dist and e.dist.name == "hsrzoo"]
    return sorted({e.name for e in own if find_spec(e.module)})


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_data_and_its_installation_is_told_beside_it(
    shell: str, run_hsrzoo: Callable
) -> None:
    done = run_hsrzoo("completion", shell)
    assert done.returncode == 0 and "_HSRZOO_COMPLETE" in done.stdout
    (hint,) = done.stderr.splitlines()
    assert f"hsrzoo completion {shell} >" in hint
    assert run_hsrzoo("completion", "tcsh").returncode == 2


def wanted(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"needs {shell}")
    return path


def completed(argv: list[str], env: dict[str, str], folder: Path) -> Iterator[list[str]]:
    """The words that an interactive shell has after each of LINES, Tab and an X were typed.

    printf is put in front of it, so that the shell itself tells what stands there.
    """
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        argv, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    seen = ""

    def until(mark: str) -> None:
        nonlocal seen
        end = time.monotonic() + LONG
        while mark not in seen:
            assert select.select([ours], [], [], max(0, end - time.monotonic()))[0], seen
            seen += os.read(ours, 65536).decode(errors="replace")

    try:
        until("ready>")
        for line, _ in LINES:
            seen = ""
            os.write(ours, f"{line}\tX{CONTROL_A}printf '<%s>\\n' begin \r".encode())
            until("<begin>")
            os.write(ours, b"echo the''end\r")
            until("theend")
            yield [text[1:-1] for text in seen.partition("<begin>")[2].split() if text.startswith("<")]
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


LINES = [
    ("hsrzoo completi", ["hsrzoo", "completion", "X"]),
    ("hsrzoo predict pho", ["hsrzoo", "predict", "photo.png", "X"]),
    ("hsrzoo fit --dataset indi", ["hsrzoo", "fit", "--dataset", "indian-pines", "X"]),
    ("hsrzoo bench --model hscnn-plus.", ["hsrzoo", "bench", "--model", "hscnn-plus.cave", "X"]),
    ("hsrzoo show local-dir:we", ["hsrzoo", "show", "local-dir:weights.cave", "X"]),
    ("hsrzoo show local-dir:ru", ["hsrzoo", "show", "local-dir:runs/X"]),
    ("hsrzoo bench --metrics mrae,rm", ["hsrzoo", "bench", "--metrics", "mrae,rmse", "X"]),
]
"""What is typed before Tab, and the words of the line after Tab and an X: a name that is whole is followed
by a space."""


def script(shell: str) -> str:
    return subprocess.run([SCRIPT, "completion", shell], capture_output=True, text=True, check=True).stdout


def test_bash_completes_lines(folder: Path) -> None:
    bash = wanted("bash")
    (folder / ".rc").write_text(f"PS1='ready>'\nbind 'set enable-bracketed-paste off'\n{script('bash')}")
    argv = [bash, "--noprofile", "--rcfile", str(folder / ".rc"), "-i"]
    assert list(completed(argv, environment(folder), folder)) == [words for _, words in LINES]


def test_zsh_completes_lines(folder: Path) -> None:
    zsh = wanted("zsh")
    start = "PS1='ready>'\nbindkey -e\nautoload -U compinit\ncompinit -u\n"
    (folder / ".zshrc").write_text(start + script("zsh"))
    env = {**environment(folder), "ZDOTDIR": str(folder)}
    assert list(completed([zsh, "-i"], env, folder)) == [words for _, words in LINES]


def test_fish_offers_what_completes_lines(folder: Path) -> None:
    """``complete -C`` is fish's own way to ask what it would offer for a line."""
    fish = wanted("fish")
    (folder / "script.fish").write_text(script("fish"))
    ask = "source script.fish; for line in $argv; complete -C $line; end"
    done = subprocess.run(
        [fish, "--no-config", "-c", ask, *(line for line, _ in LINES)],
        cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=LONG,
    )  # fmt: skip
    found = [text.partition("\t")[0] for text in done.stdout.splitlines()]
    assert found == [" ".join(words).removesuffix("X").split()[-1] for _, words in LINES]
