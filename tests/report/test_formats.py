"""Every form of a report against its golden file: the same rows give the same bytes.

``TOLLKEEPER_GOLDEN=write`` writes the files anew; look at what changed before keeping them.
"""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.samples import NOW
from tollkeeper.core.errors import SetupError
from tollkeeper.ledger.charges import charges
from tollkeeper.ledger.queries import report
from tollkeeper.policy.document import parse_policy
from tollkeeper.report.focus import focus_csv
from tollkeeper.report.formats import BINARY, ENDINGS, FORMATS, fold_rest, format_of
from tollkeeper.report.html import report_html
from tollkeeper.report.machine import report_csv, report_jsonl, report_object
from tollkeeper.report.markdown import report_markdown
from tollkeeper.report.openmetrics import report_openmetrics
from tollkeeper.report.overview import read_overview
from tollkeeper.report.parquet import report_parquet
from tollkeeper.report.picture import report_svg
from tollkeeper.report.table import print_report

GOLDEN = Path(__file__).parent / "golden"
BY = ("day", "model")
POLICY = """\
schema = 1
mode = "enforce"

[budget.month]
amount = "5 USD"
window = "month"
share = "pool"
"""


def _table(path: Path, width: int) -> str:
    out = io.StringIO()
    print_report(report(path, by=BY), out, width, now=NOW)
    return out.getvalue()


def _html(path: Path) -> str:
    policy = parse_policy(POLICY, "policy.toml")
    overview = read_overview(path, by=BY, since=None, until=None, zone="UTC", policy=policy, at=NOW + 86_400_000_000)
    return report_html(overview, "AI spend", NOW)


WRITERS: dict[str, Callable[[Path], str]] = {
    "report-80.txt": lambda path: _table(path, 80),
    "report-120.txt": lambda path: _table(path, 120),
    "report.json": lambda path: json.dumps(report_object(report(path, by=BY)), indent=2, ensure_ascii=False) + "\n",
    "report.jsonl": lambda path: report_jsonl(report(path, by=BY)),
    "report.csv": lambda path: report_csv(report(path, by=BY)),
    "report.tsv": lambda path: report_csv(report(path, by=BY), "\t"),
    "report.md": lambda path: report_markdown(report(path, by=BY)),
    "by-model.md": lambda path: report_markdown(report(path), "AI spend of pull request 7"),
    "report.svg": lambda path: report_svg(report(path, by=BY), "tollkeeper report --by day,model", NOW),
    "report.prom": lambda path: report_openmetrics(report(path, by=BY)),
    "focus.csv": lambda path: focus_csv(charges(path), "UTC"),
    "report.html": _html,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_form_is_written_as_it_always_was(path: Path, name: str) -> None:
    written = WRITERS[name](path)
    golden = GOLDEN / name
    if os.environ.get("TOLLKEEPER_GOLDEN") == "write":
        golden.write_text(written, encoding="utf-8")
    assert written == golden.read_text(encoding="utf-8"), f"{name} differs: TOLLKEEPER_GOLDEN=write pytest tests/report shows how"


def test_every_format_has_a_golden_file_or_a_test_of_its_own() -> None:
    written = {format_of(name) for name in WRITERS} | {"focus"}
    assert set(FORMATS) - BINARY <= written
    assert set(ENDINGS.values()) <= set(FORMATS)


def test_money_is_never_a_raw_float(path: Path) -> None:
    documents = [WRITERS["report.json"](path), *WRITERS["report.jsonl"](path).splitlines()]
    assert len(documents) == 6
    for document in documents:
        assert json.loads(document, parse_float=pytest.fail)


def test_rows_that_are_folded_keep_the_total(path: Path) -> None:
    whole = report(path, by=("model",))
    folded = fold_rest(whole, 1)
    assert [group.keys for group in folded.groups] == [("gpt-5",), ("3 more",)]
    assert folded.total == whole.total
    assert sum(group.exposure_nanousd for group in folded.groups) == whole.total.exposure_nanousd
    assert fold_rest(whole, 3) == whole


def test_parquet_holds_the_same_rows_or_says_what_to_install(path: Path) -> None:
    found = report(path, by=BY)
    try:
        import pyarrow.parquet as pq
    except ImportError:
        with pytest.raises(SetupError, match=r"pip install 'tollkeeper\[parquet\]'"):
            report_parquet(found)
        return
    table = pq.read_table(io.BytesIO(report_parquet(found)))
    assert table.num_rows == len(found.groups)
    assert sum(table.column("exposure_nanousd").to_pylist()) == found.total.exposure_nanousd
    assert str(table.schema.field("cost_usd").type) == "decimal128(28, 9)"
    assert None in table.column("cost_usd").to_pylist()
