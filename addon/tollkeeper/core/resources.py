"""Where data that ships with us stands: in the wheel under ``_data``, in a checkout beside ``addon/``."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def data(tree: str) -> Path:
    """The folder ``pricing`` or ``policies``, installed or checked out."""
    shipped = _PACKAGE / "_data" / tree
    return shipped if shipped.is_dir() else _PACKAGE.parent.parent / tree


def package_folder() -> Path:
    """The folder of the installed package."""
    return _PACKAGE
