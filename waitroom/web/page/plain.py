"""A page for a browser where there is no waiting page: a title and a sentence, in the waiting page's look, in one file.

deploy/nginx has the same text, as $waitroom_plain_page, for the pages that nginx itself answers with.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Final

#: Loads the page again when its `refresh` says so. By itself a browser does not where the address has a part behind #:
#: it takes that for a jump inside the page.
AGAIN: Final = (
    'if(location.href.includes("#"))setTimeout(()=>location.reload(),'
    '1e3*parseInt(document.querySelector("meta[http-equiv]").content))'
)

#: It may load nothing and run nothing else, and no page may put it into a frame.
PLAIN_CSP: Final = (
    f"default-src 'none'; script-src 'sha256-{b64encode(sha256(AGAIN.encode()).digest()).decode()}'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
)

HEAD: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><style>'
    "body{margin:0;padding:0 clamp(1.25rem,5vw,4rem);border-top:.375rem solid #0b7261;background:#f7f5ef;"
    "color:#1c1b17;font:1.25rem/1.4 system-ui,sans-serif;overflow-wrap:anywhere}"
    "main{max-width:34em;padding:clamp(1.75rem,6vh,4rem) 0}h1{margin:0 0 1rem;"
    "font-size:clamp(2.25rem,1.25rem + 4.5vw,4.25rem);line-height:1.08;letter-spacing:-.025em}"
    "a{color:inherit;font-weight:600;text-underline-offset:.25em}"
    "@media(prefers-color-scheme:dark){body{border-color:#45c4a8;background:#141412;color:#f2efe6}}</style>"
)


def plain_page(title: str, text: str, *, refresh: str = "") -> bytes:
    """The page as UTF-8 HTML. `text` is HTML. `refresh`: seconds after which the browser loads it again."""
    again = f'<meta http-equiv="refresh" content="{refresh}"><script>{AGAIN}</script>' if refresh else ""
    return f"{HEAD}{again}<title>{title}</title><main><h1>{title}</h1><p>{text}</p></main></html>".encode()
