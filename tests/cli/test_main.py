"""The command line: lazy, quick, one paragraph per error, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

from hsrzoo.cli import main as cli_main
from hsrzoo.cli.errors import one_paragraph, run
from hsrzoo.errors import DivergedError, InputError, PluginError, TrainingError
from waiting import LONG, best_of

HEAVY = ("torch", "timm", "torchvision", "hsrzoo_mcga", "hsrzoo_baselines", "hsrzoo_benchmark")

MODULES = """
import json, sys
from hsrzoo.cli.main import main
sys.argv = ["hsrzoo", *{arguments!r}]
try:
    main()
except SystemExit as leave:
    code = leave.code
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], [], ["--version"], ["list"], ["list", "m*"], ["list", "--pretrained", "--json"],
     ["list", "--datasets"], ["list", "--metrics"], ["list", "--perturbations"]],
)  # fmt: skip
def test_help_and_lists_import_neither_torch_nor_plugins(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MODULES.format(arguments=arguments)],
        capture_output=True, text=True, timeout=LONG, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == (0 if arguments else 2)
    assert [m for m in modules if m.split(".")[0] in HEAVY] == []
    # the plugins that live in the core are plugins all the same
    assert [
        m for m in modules if m.startswith(("hsrzoo.datasets.", "hsrzoo.metrics.", "hsrzoo.perturb."))
    ] == []


def cpu_seconds(*arguments: str) -> float:
    """User + system time of the console script."""
    script = Path(sys.executable).with_name("hsrzoo")
    before = os.times()
    subprocess.run([script, *arguments], capture_output=True, check=True, timeout=LONG)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_help_and_list_are_quick() -> None:
    # Targets 0.2 and 0.4 s; twice that is allowed for slow machines, torch alone costs more.
    for command, limit in (("--help", 0.4), ("list", 0.8)):
        assert best_of(lambda command=command: cpu_seconds(command), below=limit) < limit


def test_help_names_every_command_with_a_line(run_hsrzoo) -> None:
    done = run_hsrzoo("--help")
    assert done.returncode == 0 and "broken" not in done.stdout
    for name in ("bench", "check", "codebook", "compare", "data", "fit", "info", "list", "train"):
        line = next(line for line in done.stdout.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "mcga-s9"], "no model named 'mcga-s9'. Nearest: mcga-s"),
        (["show", "../../etc/passwd"], "is not a model name"),
        (["show", "mcga-s2.nowhere"], "no trained weights for mcga-s2.nowhere"),
        (["show", "local-dir:nowhere"], "folder of weights does not exist"),
        (["show", "hf-hub:my lab/some net"], "for example hf-hub:my-lab/some-net"),
        (["benhc"], "no command named 'benhc'. Nearest: bench"),
        (["--plugin", "nowhere.py", "list"], "plugin file is missing"),
        (["list", "--pretrained", "--datasets"], "--pretrained goes with models only"),
        (["list", "--nonsense"], "No such option"),
        (["show"], "Missing argument"),
    ],
)
def test_bad_input_is_one_paragraph_and_exit_code_2(run_hsrzoo, arguments: list[str], words: str) -> None:
    done = run_hsrzoo(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert words in done.stderr and "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("Error:") :]
    assert message.count("\n") == 1 and len(message) < 500


def test_debug_shows_the_traceback(run_hsrzoo) -> None:
    done = run_hsrzoo("--debug", "show", "mcga-s9")
    assert done.returncode == 2 and "Traceback" in done.stderr and "UnknownNameError" in done.stderr


def test_control_characters_cannot_forge_lines(run_hsrzoo) -> None:
    done = run_hsrzoo("show", "x\nError: all is well\x1b[2J")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "\x1b" not in done.stderr


def test_version_is_printed(run_hsrzoo) -> None:
    from importlib.metadata import version

    assert run_hsrzoo("--version").stdout == f"hsrzoo {version('hsrzoo')}\n"


def test_a_closed_pipe_is_quiet() -> None:
    script = Path(sys.executable).with_name("hsrzoo")
    done = subprocess.run(
        f"set -o pipefail; '{script}' list | true; '{script}' list --datasets --json | true",
        shell=True, executable="/bin/bash", capture_output=True, text=True, timeout=LONG,
    )  # fmt: skip
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_ctrl_c_leaves_with_130(tmp_path: Path) -> None:
    plugin = tmp_path / "slow.py"
    plugin.write_text("import time\nprint('ready', flush=True)\ntime.sleep(1800)\n")
    # The handler is set anew: a test run in the background has SIGINT ignored.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code += "from hsrzoo.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--plugin", str(plugin), "list"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONG)
    assert process.returncode == 130 and err.strip() == "Interrupted."


# ---- exceptions and exit codes, in this process


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("Too grey", got="1 channel"), 2, "Error: Too grey. Got 1 channel."),
        (TrainingError("The recipe's steps is impossible"), 2, "Error: The recipe's steps is impossible."),
        (DivergedError("The loss is NaN"), 1, "Error: The loss is NaN."),
        (RuntimeError("two\nlines"), 1, "Error: An unexpected RuntimeError in hsrzoo.cli.errors, line "),
        (
            KeyError("schema"),
            1,
            "Got 'schema'. This is a fault of hsrzoo, of a plugin or of a package: the ",
        ),
        (ValueError(), 1, "Got no reason given. This is a fault"),
        (MemoryError(), 1, "Error: There is not enough memory. Got no reason given. Use smaller tiles"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            1,
            "Error: There is not enough memory.",
        ),
        (
            PermissionError(13, "Permission denied", "a.hdr"),
            2,
            "Error: a.hdr cannot be used. Got Permission",
        ),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (click.Abort(), 130, "Interrupted."),
        (click.UsageError("no"), 2, "Error: no"),
    ],
)
def test_each_exception_has_its_code_and_no_traceback(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    def work() -> None:
        raise error

    assert run(work, debug=lambda: False) == code
    out, err = capsys.readouterr()
    assert out == "" and words in err and "Traceback" not in err


def test_success_and_explicit_codes_pass_through() -> None:
    assert run(lambda: None, debug=lambda: False) == 0
    assert run(lambda: 1, debug=lambda: False) == 1


def test_paragraphs_have_no_line_breaks() -> None:
    assert one_paragraph("a\n\n b\tc\x07") == "a b c"


# ---- broken, foreign and duplicate command plugins


def entry(value: str) -> EntryPoint:
    return EntryPoint("extra", value, "hsrzoo.commands")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["no_such_package.commands:x"], "cannot be loaded.*ModuleNotFoundError.*no_such_package"),
        (["hsrzoo.models.names:parse_name"], "not a command.*click command.*function"),
        (["hsrzoo.cli.list:nothing"], "cannot be loaded.*AttributeError"),
        (
            ["hsrzoo.cli.list:command", "hsrzoo.cli.check:command"],
            r"Two plugins.*list:command.*check:command",
        ),
    ],
)
def test_a_broken_command_plugin_names_its_origin(values: list[str], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        cli_main.load_command("extra", [entry(v) for v in values])


def test_help_survives_broken_command_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "unparsable.py").write_text("def (:")
    (tmp_path / "silent.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    commands = {
        "fine": [entry("hsrzoo.cli.list:command")],
        "gone": [entry("no_such_package.commands:x")],
        "silent": [entry("silent:x")],
        "twice": [entry("silent:x"), entry("silent:y")],
        "unparsable": [entry("unparsable:x")],
    }
    monkeypatch.setattr(cli_main, "entry_points_of", lambda group: commands)
    context = click.Context(cli_main.cli, info_name="hsrzoo")
    lines = {line.split()[0]: line for line in cli_main.cli.get_help(context).splitlines() if line.strip()}
    assert "List models" in lines["fine"]
    assert "broken" in lines["gone"] and "broken" in lines["unparsable"]
    assert "silent:x" in lines["silent"] and "offered twice" in lines["twice"]
    assert not {"silent", "unparsable", "no_such_package"} & set(sys.modules)
