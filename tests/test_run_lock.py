"""Two processes cannot train into one folder, and a killed one leaves nothing in the way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from probpose.errors import RunInUseError
from probpose.inference.training.config import default_config
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import resume_training, start_training

HOLD = """
import sys, time
from pathlib import Path
from probpose.inference.training.runs import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_in_use_is_refused_until_its_process_is_killed(figures: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    config = default_config("synthetic", data_root=str(figures), epochs=1, input_height=32, input_width=32)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunInUseError, match=r"another process is training into .*run: wait"):
            start_training(config, folder)
        assert not folder.config.exists()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    (folder.path / ".last.safetensors.123.tmp").write_bytes(b"half a checkpoint")
    start_training(config, folder)
    assert not list(folder.path.glob(".*.tmp"))
    with folder.locked(), pytest.raises(RunInUseError):
        resume_training(folder)
