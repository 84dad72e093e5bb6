"""The fixed parts of the HTML report: its head with all of its style, and its last lines."""

HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,"><title>{title}</title><style>
:root{{--bg:#fff;--card:#f6f8fa;--text:#1f2328;--soft:#57606a;--line:#d0d7de;--c1:#0969da;--c2:#8250df;--bad:#cf222e;--warn:#fff8c5}}
@media(prefers-color-scheme:dark){{:root{{--bg:#0d1117;--card:#161b22;--text:#e6edf3;--soft:#9ba6b2;--line:#30363d;--c1:#58a6ff;--c2:#bc8cff;
--bad:#ff7b72;--warn:#3a2f0b}}}}
*{{box-sizing:border-box}}body{{margin:0 auto;max-width:1100px;padding:16px;background:var(--bg);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}}
h1{{font-size:1.5rem;margin:.2em 0}}h2{{font-size:1.1rem;margin:1.4em 0 .5em}}header p{{color:var(--soft);margin:0}}
.cards{{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:8px;margin:16px 0}}
.cards div{{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 12px}}
.cards dt{{color:var(--soft);font-size:.8rem}}.cards dd{{margin:0;font-size:1.1rem;font-variant-numeric:tabular-nums;white-space:nowrap}}
.warn{{background:var(--warn);border:1px solid var(--line);border-left:4px solid var(--bad);border-radius:8px;padding:2px 14px}}
.warn h2{{margin:.6em 0 .2em}}
.grid{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:16px;align-items:start;margin-top:16px}}
figure{{margin:0;border:1px solid var(--line);border-radius:8px;padding:12px;min-width:0}}figcaption{{font-weight:600;margin-bottom:8px}}
svg{{width:100%;height:auto;display:block}}summary{{cursor:pointer;color:var(--soft);font-size:.85rem;margin-top:8px}}
.scroll{{overflow-x:auto}}.scroll:focus-visible,summary:focus-visible{{outline:2px solid var(--c1)}}
table{{border-collapse:collapse;font-size:.85rem;width:100%}}th,td{{padding:4px 8px;border-bottom:1px solid var(--line);text-align:left;
vertical-align:top}}tbody th{{font-weight:400;white-space:nowrap}}td.n,th.n{{text-align:right;white-space:nowrap;
font-variant-numeric:tabular-nums}}tfoot td,tfoot th{{font-weight:600;border-bottom:0}}meter{{width:70px}}
footer{{color:var(--soft);font-size:.85rem;border-top:1px solid var(--line);margin-top:24px}}ul{{padding-left:1.2em}}
{style}
@media print{{.scroll{{overflow:visible}}details{{display:none}}}}
</style></head><body>"""

FOOT = "<p>Made by Tollkeeper from its ledger. – is unknown and never 0, ~ is estimated. An estimate, not an invoice.</p>"
