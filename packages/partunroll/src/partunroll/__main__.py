"""``python -m partunroll``: the command, as `torchrun -m partunroll` starts it."""

from __future__ import annotations

from partunroll.cli import main

if __name__ == "__main__":  # workers import this module, too
    main()
