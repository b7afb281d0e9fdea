"""Tests give the same results in the shell of somebody who has set all that can be set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from environment import FORKS, READ_BY_TESTS, settings_to_remove
from forks import Forks
from waiting import LONG

ROOT = Path(__file__).parents[1]
HOSTILE = {
    "HF_HUB_OFFLINE": "1",
    "HF_TOKEN": "hf_somebody",
    "HF_HOME": "/nowhere/hf",
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HSRZOO_PLUGINS": "/nowhere/plugin.py",
    "HSRZOO_SEARCH": "nonsense",
    "HSRZOO_DATA": "/nowhere",
    "OMP_NUM_THREADS": "7",
    "MKL_NUM_THREADS": "5",
    "NO_COLOR": "1",
    "FORCE_COLOR": "1",
    "COLUMNS": "30",
    "LC_ALL": "C",
    "LANGUAGE": "de",
    "TZ": "Pacific/Auckland",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "XDG_DATA_HOME": "/nowhere",
    "GIT_DIR": "/nowhere",
    "PIP_REQUIRE_VIRTUALENV": "1",
}
SAMPLE = (
    "tests/hub/test_pull.py::test_a_commit_that_is_here_is_used_without_asking",
    "tests/hub/test_cards.py",
    "tests/cli/test_main.py::test_help_names_every_command_with_a_line",
    "tests/cli/test_list_and_info.py::test_the_table_is_data_on_stdout",
    "tests/datasets/test_data_command.py::test_list_tells_present_from_absent",
    "tests/datasets/test_data_command.py::test_absent_raises_with_exit_code_two",
    "tests/core/test_provenance.py::test_new_sources_make_a_tree_dirty_and_other_files_do_not",
    "tests/mcga/test_search_engines.py::test_the_engine_follows_from_device_type_and_width",
)
"""Tests that settings of the Hub, of colours and widths, of threads, of data and of git could change."""


def test_a_sample_of_the_tests_passes_whatever_is_set_outside(forks: Forks) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *SAMPLE],
        cwd=ROOT, env={**os.environ, **HOSTILE, FORKS: str(forks.path.parent)},
        capture_output=True, text=True, timeout=LONG,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_what_hsrzoo_and_its_libraries_read_is_removed_and_the_rest_stays() -> None:
    kept = ["PATH", "HOME", "TERM", "PYTHONPATH", "CUDA_VISIBLE_DEVICES", "OMPI", *READ_BY_TESTS]
    assert settings_to_remove([*HOSTILE, *kept]) == [n for n in HOSTILE if n not in READ_BY_TESTS]


def test_this_process_runs_in_the_environment_of_all_tests() -> None:
    assert not {"HF_TOKEN", "HSRZOO_DATA", "HSRZOO_SEARCH", "NO_COLOR", "TZ"} & os.environ.keys()
    assert os.environ["OMP_NUM_THREADS"] == "1" and os.environ["LC_ALL"] == "C.UTF-8"
