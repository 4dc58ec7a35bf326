"""`report.html`: one file that opens anywhere, offline, and asks nobody for anything.

Rules of this file: the page's policy forbids every request and every script but the two that are in it, by their
hashes. Plotly is imported when a page is rendered, not before. The same content gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from training.report.content import ReportContent, check

HERE = Path(__file__).parent


def render(content: ReportContent) -> bytes:
    """The page as UTF-8, about 5 MB, of which plotly.js is nearly all.

    Raises:
        DataError: the content's arrays don't belong together.
    """
    check(content)
    from plotly.offline import get_plotlyjs

    from training.report import sections, theme
    from training.report.markup import inert, text

    library, script = get_plotlyjs(), (HERE / "page.js").read_text(encoding="utf-8")
    parts = list(sections.sections(content))
    contents = "".join(f'<li><a href="#{part.name}">{text(part.title)}</a></li>' for part in parts)
    body = "".join(
        f'<section aria-labelledby="{p.name}"><h2 id="{p.name}">{text(p.title)}</h2>{p.body}</section>' for p in parts
    )
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source(library)} {_source(script)}",
            "style-src 'unsafe-inline'",  # Plotly styles its own elements
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{text(content.name)}: Telltale training report</title>
<style>
{(HERE / "page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<div class="sheet">
<nav aria-label="Contents"><ol><li><a href="#summary">Summary</a></li>{contents}</ol></nav>
<main>
<header id="summary">{sections.summary(content)}</header>
<noscript><p>The figures need JavaScript, which is in this file. In their places stands what they show,
in words.</p></noscript>
{body}
<footer>Made by Telltale. Figures are drawn by plotly.js (MIT), which is in this file. Drag in a figure to enlarge
a part, double-click to go back.</footer>
</main>
</div>
<script type="application/json" id="palette">{inert(json.dumps(theme.DARKENED, sort_keys=True))}</script>
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""
    return page.encode("utf-8", "backslashreplace")  # a command line may hold bytes that are no text


def _source(script: str) -> str:
    """What a content security policy calls an inline script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode()}'"
