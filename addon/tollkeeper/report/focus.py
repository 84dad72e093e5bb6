"""FOCUS columns: a CSV that FinOps tools read beside cloud bills. Our estimate by list price and discount, never an invoice."""

import csv
import io
import json
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from tollkeeper.core.clock import from_datetime
from tollkeeper.core.money import format_usd_exact
from tollkeeper.ledger.charges import ChargeRow

from .machine import inert, moment
from .period import zone_of
from .semconv import FOCUS_COLUMNS, focus_meter, focus_provider, focus_unit

PER_MILLION = 1_000_000


def focus_csv(rows: Iterable[ChargeRow], zone: str) -> str:
    """A header and a row per charge. ``BilledCost`` is our figure (``x_Estimated`` is true): invoices are the provider's to write.

    Costs of a model without a price are empty, with what budgets count in ``x_ExposureUsd``.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, FOCUS_COLUMNS, lineterminator="\n")
    writer.writeheader()
    where = zone_of(zone)
    for row in rows:
        writer.writerow({name: inert(value) for name, value in focus_row(row, where).items()})
    return out.getvalue()


def focus_row(row: ChargeRow, zone: ZoneInfo) -> dict[str, str]:
    """One charge under FOCUS names; unknown is empty."""
    day = datetime.fromisoformat(row.day).date()
    start = datetime.combine(day, time(), zone)
    month = start.replace(day=1)
    next_month = (month + timedelta(days=32)).replace(day=1)
    is_tokens = focus_unit(row.unit) == "Tokens"
    cost, listed = _usd(row.cost_nanousd), _usd(row.list_cost_nanousd)
    rate = "" if row.rate_usd is None else _plain(row.rate_usd * (PER_MILLION if is_tokens else 1))
    quantity = Decimal(row.quantity) / PER_MILLION if is_tokens else Decimal(row.quantity)
    tags = {"team": row.team, "project": row.project, "tool": row.client}
    return {
        "BilledCost": cost,
        "BillingAccountId": row.provider,
        "BillingAccountName": focus_provider(row.provider),
        "BillingCurrency": "USD",
        "BillingPeriodStart": _instant(month),
        "BillingPeriodEnd": _instant(next_month),
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeDescription": f"{row.model} {focus_meter(row.unit).lower()}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _instant(start),
        "ChargePeriodEnd": _instant(datetime.combine(day + timedelta(days=1), time(), zone)),
        "ConsumedQuantity": str(row.quantity),
        "ConsumedUnit": focus_unit(row.unit),
        "ContractedCost": cost,
        "ContractedUnitPrice": rate,
        "EffectiveCost": cost,
        "InvoiceIssuerName": focus_provider(row.provider),
        "ListCost": listed,
        "ListUnitPrice": rate,
        "PricingCategory": "Standard",
        "PricingQuantity": _plain(quantity),
        "PricingUnit": "1000000 Tokens" if is_tokens else focus_unit(row.unit),
        "ProviderName": focus_provider(row.provider),
        "PublisherName": focus_provider(row.provider),
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        "ServiceName": row.operation,
        "SkuId": f"{row.provider}/{row.model}",
        "SkuMeter": focus_meter(row.unit),
        "SkuPriceId": row.price_id,
        "SubAccountId": row.principal,
        "SubAccountName": row.principal,
        "Tags": json.dumps({name: value for name, value in tags.items() if value}, ensure_ascii=False),
        "x_Estimated": "true",
        "x_UsageSource": row.usage_source,
        "x_CostSource": row.cost_source,
        "x_ExposureUsd": format_usd_exact(row.exposure_nanousd),
    }


def _usd(nanousd: int | None) -> str:
    return "" if nanousd is None else format_usd_exact(nanousd)


def _plain(number: Decimal) -> str:
    """Without an exponent or needless zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _instant(at: datetime) -> str:
    return moment(from_datetime(at)) or ""
