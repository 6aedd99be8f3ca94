"""The demo's origin: a small shop that knows nothing of the waiting room, except for its "leave" button.

Run as `python -m waitroom.demo.shop PORT [ADDRESS]`. The address is 127.0.0.1 unless another is given.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

#: On every answer, so that a test of the demo can tell the origin's answers from the waiting room's.
ORIGIN_HEADERS: Final = {"X-Origin": "demo", "Cache-Control": "no-store"}


@dataclass(frozen=True)
class Product:
    """Something to buy. The price is in cents."""

    slug: str
    name: str
    price_cents: int
    picture: str
    line: str


PRODUCTS: Final = (
    Product("mug", "Mug", 1200, "\N{HOT BEVERAGE}", "For the tea you make while others queue."),
    Product("lamp", "Lamp", 4900, "\N{ELECTRIC LIGHT BULB}", "Bright ideas, 4 watts."),
    Product("plant", "Plant", 1900, "\N{POTTED PLANT}", "Grows slowly. Has never minded waiting."),
    Product("umbrella", "Umbrella", 2500, "\N{UMBRELLA}", "Seats one, stands two."),
    Product("bicycle", "Bicycle", 38900, "\N{BICYCLE}", "The last one in this colour. It always is."),
    Product("book", "Book", 1400, "\N{OPEN BOOK}", "On queues, in order."),
)

_STYLE: Final = """
:root { color-scheme: light dark; font: 1.05rem/1.5 system-ui, sans-serif; --line: #8886; }
body { max-width: 56rem; margin: 0 auto; padding: 1.5rem; }
header { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; justify-content: space-between; }
h1 { margin: 0; font-size: 1.6rem; }
h1 a { color: inherit; text-decoration: none; }
ul { list-style: none; padding: 0; display: grid; gap: 1rem;
     grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); }
li { border: 1px solid var(--line); border-radius: .8rem; padding: 1rem; }
h2, p { margin: .3rem 0; }
.picture { font-size: 3rem; line-height: 1.2; }
.price { font-weight: 600; }
button { font: inherit; color: inherit; background: none; cursor: pointer;
         padding: .5rem 1rem; border: 1px solid currentColor; border-radius: .6rem; }
"""

# The browser stays on the page when a form is answered with 204, so the script does the call and says goodbye.
_LEAVE: Final = """
document.getElementById("leave").addEventListener("click", async (event) => {
  event.target.disabled = true;
  const answer = await fetch("/v1/rooms/shop/leave", {method: "POST"});
  document.querySelector("main").innerHTML = answer.ok
    ? '<p role="status">Goodbye! Another visitor may come in now. <a href="/">Queue again</a></p>'
    : '<p role="status">Your visit is over already. <a href="/">Queue again</a></p>';
});
"""

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style></head><body>
<header><h1><a href="/">The demo shop</a></h1><button id="leave" type="button">Leave the shop</button></header>
<main>{content}</main>
<footer><p>You are in. Other visitors wait until one leaves or a visit ends.</p></footer>
<script>{script}</script></body></html>"""


def shop() -> Starlette:
    """The shop as an application."""
    return Starlette(
        routes=[
            Route("/", _front),
            Route("/products/{slug}", _product),
            Route("/favicon.ico", _no_icon),
        ],
        exception_handlers={HTTPException: _failed},
    )


def _page(title: str, content: str) -> HTMLResponse:
    page = _PAGE.format(title=escape(title), style=_STYLE, content=content, script=_LEAVE)
    return HTMLResponse(page, headers=ORIGIN_HEADERS)


def _price(product: Product) -> str:
    return f"€ {product.price_cents / 100:.2f}"


def _card(product: Product) -> str:
    return (
        f'<li><p class="picture" aria-hidden="true">{product.picture}</p>'
        f'<h2><a href="/products/{product.slug}">{escape(product.name)}</a></h2>'
        f'<p>{escape(product.line)}</p><p class="price">{_price(product)}</p></li>'
    )


async def _front(request: Request) -> Response:
    return _page("The demo shop", f"<ul>{''.join(_card(product) for product in PRODUCTS)}</ul>")


async def _product(request: Request) -> Response:
    wanted = request.path_params["slug"]
    for product in PRODUCTS:
        if product.slug == wanted:
            return _page(product.name, f"<ul>{_card(product)}</ul><p><a href='/'>All products</a></p>")
    raise HTTPException(404)


async def _no_icon(request: Request) -> Response:
    return Response(status_code=204, headers=ORIGIN_HEADERS)


async def _failed(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    return PlainTextResponse("The shop does not have this.\n", code, headers=ORIGIN_HEADERS)


def main() -> None:
    """Serve the shop at the port, and the address, named on the command line."""
    port, address = (*sys.argv[1:], "127.0.0.1")[:2]
    uvicorn.run(
        shop(),
        host=address,
        port=int(port),
        log_level="warning",
        timeout_keep_alive=75,  # nginx lets go first, after 60 s, so it never writes to a connection just closed
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
