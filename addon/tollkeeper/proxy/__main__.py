"""``python -m tollkeeper.proxy``: the proxy as a child process, its settings as JSON on standard input."""

import sys

from tollkeeper.core.errors import TollkeeperError

from .settings import Settings


def _run() -> int:
    settings = Settings.from_json(sys.stdin.read())
    from .runner import main

    try:
        main(settings)
    except TollkeeperError as error:
        print(f"tollkeeper: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_run())
