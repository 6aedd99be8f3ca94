"""The `waitroom` command, and `python -m waitroom`. Where the server's packages are missing, it says so and ends."""

from __future__ import annotations

import sys

from waitroom.extras import server_fault


def main() -> None:
    """Run the command line; exit code 2 where it cannot run here."""
    fault = server_fault("the waitroom command")
    if fault is not None:
        sys.stderr.write(f"waitroom: {fault}\n")
        raise SystemExit(2)
    from waitroom.cli.main import main as run  # needs the server's packages

    run()


if __name__ == "__main__":
    main()
