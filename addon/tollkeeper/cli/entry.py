"""Where the ``tollkeeper`` command begins: the status line is answered before click is imported, everything else by ``cli.main``."""

import sys


def main() -> None:
    """Entry point of the ``tollkeeper`` command."""
    if sys.argv[1:2] == ["statusline"] and not {"-h", "--help"} & set(sys.argv):
        from .quick import main as statusline

        raise SystemExit(statusline(sys.argv[2:]))
    from .main import main as everything

    everything()


if __name__ == "__main__":
    main()
