"""``python -m uplift``, and so ``torchrun -m uplift``: the command line."""

from __future__ import annotations

from uplift.cli import main

if __name__ == "__main__":
    main()
