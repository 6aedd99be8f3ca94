"""`python -m waitroom`: the same as the `waitroom` command."""

from __future__ import annotations

from waitroom.cli.main import main

if __name__ == "__main__":
    main()
