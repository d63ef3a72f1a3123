"""Execute every notebook from clean: ``python -m notebooks [NAME.ipynb ...]``. Outputs are written back."""

from __future__ import annotations

import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main(wanted: list[str]) -> int:
    """Run the notebooks; return 1 when one fails."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    for file in [HERE / name for name in wanted] or sorted(HERE.glob("*.ipynb")):
        begun = time.perf_counter()
        notebook = nbformat.read(file, as_version=4)
        try:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(HERE)}}).execute()
        except CellExecutionError as error:
            print(f"{file.name} failed:\n{error}", file=sys.stderr)
            return 1
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times of this machine: noise in a diff
        nbformat.write(notebook, file)
        print(f"{file.name}: {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
