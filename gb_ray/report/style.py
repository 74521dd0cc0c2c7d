"""How a page looks, by day and by night. Nothing is loaded from anywhere: fonts are those of the reader's machine."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #666d76; --rule: #dcdfe3; --page: #fdfdfc;
  --accent: #1f6f8b; --bad: #b4502f; --field: #f3f4f3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e4df; --soft: #9aa1a9; --rule: #353a40; --page: #16181b;
  --accent: #6bb8d0; --bad: #e0875f; --field: #1f2226; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 4rem 1.5rem 6rem; max-width: 54rem; background: var(--page); color: var(--ink);
  font: 1.0625rem/1.6 Charter, "Iowan Old Style", "Source Serif 4", Georgia, serif; }
h1, h2, th, figcaption, nav, svg text, .figure, code, pre, .quiet { font-family: system-ui, sans-serif; }
h1 { font-size: 2.25rem; line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 0.25rem; }
h2 { font-size: 1.25rem; letter-spacing: -0.01em; margin: 3.5rem 0 0.75rem; }
p { max-width: 42rem; margin: 0.5rem 0 1rem; }
.verdict { font-size: 1.3rem; line-height: 1.5; margin: 1.5rem 0; }
.quiet { color: var(--soft); font-size: 0.875rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.9375rem; }
th { font-size: 0.8125rem; font-weight: 500; color: var(--soft); text-align: left; vertical-align: bottom; }
th, td { padding: 0.35rem 1.1rem 0.35rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
.figure { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; font-size: 0.875rem; }
th.figure { font-size: 0.8125rem; text-align: right; }
td.text { overflow-wrap: anywhere; min-width: 5rem; }
.row { display: flex; flex-wrap: wrap; gap: 1.5rem 2rem; align-items: flex-end; }
figure { margin: 0.5rem 0; }
figcaption { font-size: 0.8125rem; color: var(--soft); margin-bottom: 0.25rem; }
svg { display: block; max-width: 100%; height: auto; }
td svg { margin: 0.25rem 0; max-width: none; }
svg text { font-size: 11px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.confusion text { fill: var(--ink); }
.confusion .on { fill: var(--page); }
.line { fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-linejoin: round; }
.rule { stroke: var(--rule); stroke-width: 1; }
.bar { stroke: var(--accent); stroke-width: 5; stroke-opacity: 0.35; stroke-linecap: round; }
.gap { stroke: var(--bad); stroke-width: 1.5; stroke-opacity: 0.5; }
.dot { fill: var(--accent); }
.ring { fill: var(--page); stroke: var(--soft); stroke-width: 1.5; }
.fill, .right { fill: var(--accent); }
.bad, .wrong { fill: var(--bad); }
code, pre { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 0.8125rem; }
pre { background: var(--field); padding: 1rem; border-radius: 4px; overflow-x: auto; }
code { overflow-wrap: anywhere; }
summary { cursor: pointer; }
@media print { body { padding: 0; max-width: none; } h2 { break-after: avoid; } }
"""
