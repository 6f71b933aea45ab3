"""Small inputs that failed once, each a script that prints what the commands do with them now, and what must hold.

    python -m benchmarks.cases ../cases files robustness

A case is a folder KIND/NAME with `run.sh`, which works in a temporary folder and takes the command from `$P`. Folders
of robustness share a data set and runs that `make_base.sh` makes. What must hold of every case: no stack trace, and an
end in time. What must hold of some is in `EXPECTED`: texts that its output has to hold, and, behind a `!`, must not.
"""

from __future__ import annotations

__all__ = ["EXPECTED", "differences", "main"]

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.tables import report

COLUMNS = {"case": "case", "result": "as expected, or what differs"}
SECONDS = 600
NEVER = ("!Traceback", "!Trace Shapes", "!MarkupError")

_OF_PYTHON = "robustness/49-posterior-nc-hangs"
"""Calls a function, and so shows where the error was raised."""

EXPECTED: dict[str, tuple[str, ...]] = {
    "files/01-run-judged-on-other-joints": (r"val_five has the joints .*, and the run predicts",),
    "files/02-sides-not-found-in-names": (
        r"(?s)words (\{'AP': 0.[89].*?\}).*sleap \1",
        r"\['F_L_paw', 'F_R_paw'\] \(\(0, 1\),\)",
        r"(?m)^noflip \{'AP': 0.9",
    ),
    "files/04-one-wild-label": (
        r"1e4 \{'AP': 0.9",
        r"label more than 5 boxes from its box",
        "!no step could be trained",
    ),
    "files/05-normalised-coordinates": (r"labels look normalised", r"predictions look normalised", "!AP  .* 1.000"),
    "files/06-same-file-name-in-two-folders": (r"annotated: (\{.*\})\npersons per image, predicted: \1",),
    "files/07-undetected-written-as-0-0-1": (r"(?s)(nll 5.05, after 5.05.*?\n).*\1.*\1",),
    "files/10-sixteen-bit-images": (r"(?s)min 0 max 255.*min 0 max 255",),
    "files/11-boxes-as-two-corners": (r"17 of 17 labels outside the box", r"(?s)\[exit 1\].*\[exit 1\]"),
    "files/13-missing-joint-as-0-0-2": (r"a missing joint\? +1\d\d ",),
    "files/14-numbers-as-text": ("!incomplete record",),
    "files/16-results-of-yolo-and-alphapose": (r"category 0",),
    "files/18-no-faults-and-no-person": (r"flag 0 and a place", "!no faults"),
    "files/22-skeleton-list-odd": (r"\[32, 33\]",),
    "files/23-table-from-a-european-spreadsheet": ("!has no prediction", "!the header has 1"),
    "files/24-json-not-in-plain-utf8": ("!truncated",),
    "files/25-pictures-of-all-kinds": (r"no faults", r"tiff mean difference to Pillow 0.00"),
    "robustness/01-nan-training-exit-0": (r"(?s)exit 2.*exit 2",),
    "robustness/03-one-box-at-1e30-stops-training": (r"run: r ", r"annotation 4 in a.json"),
    "robustness/04-box-wider-than-image-memory": (r"run: r ", r"more than 100 images wide"),
    "robustness/06-lspet-gross-label": (r"run: r |image|joint",),
    "robustness/07-large-images-decoded-per-person": (r"peak (1\d|\d)\d\d MB",),
    "robustness/08-resume-with-other-data": (r"the data have changed", r"exit 1"),
    "robustness/10-resume-with-other-options": (r"(?s)residual is 'gaussian'.*seed is 1.*lr is 0.5",),
    "robustness/11-resume-without-last-starts-over": (r"(?s)([0-9a-f]{64}).*last.safetensors is missing.*\1",),
    "robustness/13-resume-after-bit-rot": (r"last.safetensors is damaged", r"exit 1"),
    "robustness/15-log-damaged": (r"(?s)line 3.*line 3.*line 3.*line 1",),
    "robustness/16-worker-killed": (r"--resume|No such process",),
    "robustness/18-image-name-of-20-digits": (r"1 overlays",),
    "robustness/20-file-name-dev-zero": (r"/dev/zero", "!out of memory"),
    "robustness/24-joint-name-lone-surrogate": (r"(?s)half a letter.*half a letter.*half a letter",),
    "robustness/26-npz-damaged": (r"v8: Error: t.npz",),
    "robustness/28-weights-damaged": (r"nan: Error: nan.pth",),
    "robustness/30-skeleton-damaged": (r"flip pairs 1-2, 2-3", r"OKS sigma of nose is -1"),
    "robustness/31-config-values": (r"(?s)(exit 2 Error.*){7}",),
    "robustness/34-ppm-huge-header": (r"Error: a.jpg",),
    "robustness/36-synth-deletes-files": (r"(?m)^my_notes.txt$", r"(?m)^my_run$"),
    "robustness/38-strangers-run-renders-data": ("!chosen",),
    "robustness/40-overlay-names-collide": (r"(?m)(^.*\.png\n){3}",),
    "robustness/41-evaluate-needs-a-writable-run": (r"warning: .*evaluation.json", r"exit 0"),
    "robustness/42-terminal-escapes": (r"\\x1b\[31mnose", "!\x1b", r"!\^\["),
    "robustness/45-exit-codes-of-a-damaged-run": (r"toml: exit 1\n", r"run: exit 1\n"),
    _OF_PYTHON: (r"DataError", "!exit 137"),
}
"""Regular expressions by case."""


def differences(name: str, output: str) -> list[str]:
    """What the output of a case lacks, or holds though it must not.

    Args:
        name: of the case, KIND/NAME.
        output: all that it printed.
    """
    rules = (*(NEVER if name != _OF_PYTHON else ()), *EXPECTED.get(name, ()))
    wanted = [rule for rule in rules if not rule.startswith("!")]
    banned = [rule[1:] for rule in rules if rule.startswith("!")]
    missing = [f"lacks {rule!r}" for rule in wanted if not re.search(rule, output)]
    return missing + [f"holds {rule!r}" for rule in banned if re.search(rule, output)]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("names", nargs=-1)
@click.option("--show", is_flag=True, help="Print what each case prints, beside what is expected.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(folder: Path, names: tuple[str, ...], show: bool, out: Path | None) -> None:
    """Run the cases in FOLDER whose names begin with one of NAMES, by default all."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "cases"
        shutil.copytree(folder, copy)
        chosen = [case for case in cases_in(copy) if not names or case.startswith(names)]
        if any(case.startswith("robustness/") for case in chosen):
            run(copy / "robustness" / "make_base.sh")
        rows = []
        for case in chosen:
            output = run(copy / case / "run.sh")
            found = differences(case, output)
            rows.append({"case": case, "result": "; ".join(found) or "as expected"})
            click.echo(f"{case}: {rows[-1]['result']}")
            if show:
                expected = (copy / case / "expected.txt").read_text(encoding="utf-8")
                click.echo(f"--- expected\n{expected.strip()}\n--- printed\n{output.strip()}\n")
    report(rows, COLUMNS, out)
    sys.exit(any(row["result"] != "as expected" for row in rows))


def cases_in(folder: Path) -> list[str]:
    """Names of the cases that say what is expected of them, in order."""
    found = folder.glob("*/*/expected.txt")
    return sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in found)


def run(script: Path) -> str:
    """What a script prints, on both streams."""
    command = Path(sys.executable).with_name("probpose")
    environment = os.environ | {"P": str(command), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    try:
        done = subprocess.run(
            ["bash", str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, timeout=SECONDS,
            errors="replace", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as stopped:
        return f"{stopped}: Traceback"
    return done.stdout


if __name__ == "__main__":
    main()
