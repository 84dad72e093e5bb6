"""Textual's driver, for a terminal on which the first frame stands already."""

from textual.drivers.linux_driver import LinuxDriver

ALTERNATE = "\x1b[?1049h"


class Drawn(LinuxDriver):
    """Entering the alternate screen once more would clear it, and it would be empty until all is drawn anew."""

    _is_drawn = True

    def write(self, data: str) -> None:
        """Write to the terminal; the first entering is left out. After ``ctrl+z`` and ``fg`` it is not."""
        if self._is_drawn and ALTERNATE in data:
            self._is_drawn = False
            data = data.replace(ALTERNATE, "")
        super().write(data)
