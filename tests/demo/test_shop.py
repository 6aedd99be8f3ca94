"""The demo's origin."""

from __future__ import annotations

import httpx
import pytest

from waitroom.demo.shop import PRODUCTS, shop


async def _get(path: str, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(shop())
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
        return await client.request(method, path)


@pytest.mark.parametrize("path", ["/", *(f"/products/{product.slug}" for product in PRODUCTS)])
async def test_every_page_is_there(path: str) -> None:
    answer = await _get(path)
    assert answer.status_code == 200
    assert "Leave the shop" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/favicon.ico", 204),
        ("GET", "/x", 404),
        ("GET", "/products/x", 404),
        ("PUT", "/", 405),
    ],
)
async def test_every_answer_says_where_it_comes_from(method: str, path: str, status: int) -> None:
    answer = await _get(path, method)
    assert answer.status_code == status
    assert answer.headers["X-Origin"] == "demo"
