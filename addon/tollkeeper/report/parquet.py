"""A report as Parquet, for notebooks and warehouses. Needs pyarrow, which is large and therefore optional."""

from importlib import import_module
from io import BytesIO
from typing import Any

from tollkeeper.core.errors import SetupError
from tollkeeper.core.money import to_usd
from tollkeeper.ledger.rows import Group, Report

from .machine import group_object

MISSING = "Parquet needs pyarrow: pip install 'tollkeeper[parquet]', or use --format csv"


def report_parquet(report: Report) -> bytes:
    """One row per group: keys as text, counts as int64, money as int64 nano-dollars and as decimal(28, 9); unknown is null.

    Raises ``SetupError`` where pyarrow is not installed.
    """
    try:
        pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise SetupError(MISSING) from None
    fields: list[tuple[str, Any]] = [(name, pa.string()) for name in report.by]
    money, count = pa.decimal128(28, 9), pa.int64()
    fields += [(name, money if name.endswith("_usd") else count) for name in group_object(Group())]
    rows = [{**dict(zip(report.by, group.keys, strict=True)), **_figures(group)} for group in report.groups]
    schema = pa.schema(fields, metadata={"tollkeeper.schema": "tollkeeper.row/1", "tollkeeper.zone": report.zone})
    out = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
    return out.getvalue()


def _figures(group: Group) -> dict[str, Any]:
    """The figures of a group, dollars as exact decimals."""
    found = group_object(group)
    for name in found:
        if name.endswith("_usd"):
            nanousd = found[f"{name.removesuffix('_usd')}_nanousd"]
            found[name] = None if nanousd is None else to_usd(nanousd)
    return found
