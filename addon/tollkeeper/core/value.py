"""Values: frozen dataclasses while assertions are on, the same without the guard under ``python -O``, as the proxy runs.

A frozen dataclass fills each field through ``object.__setattr__``, 2.3 µs for the 13 fields of a candidate against 0.6 µs; a call makes
some forty values. Every test runs with the guard, so nothing that writes to a value gets as far as a release.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: Any = None, /, *, frozen: bool = False, **options: Any) -> Any:
        """``dataclasses.dataclass``; equality and hash are those of a frozen one either way."""
        if frozen and options.get("eq", True):
            options["unsafe_hash"] = True
        return dataclasses.dataclass(cls, frozen=frozen and __debug__, **options)


__all__ = ["dataclass"]
