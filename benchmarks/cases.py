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

EXPECTED: dict[str, tuple[str, ...]] = {
    "files/06-same-file-name-in-two-folders": (r"annotated: (\{.*\})\npersons per image, predicted: \1",),
}
"""Regular expressions by case."""


def differences(name: str, output: str) -> list[str]:
    """What the output of a case lacks, or holds though it must not.

    Args:
        name: of the case, KIND/NAME.
        output: all that it printed.
    """
    rules = (*NEVER, *EXPECTED.get(name, ()))
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
