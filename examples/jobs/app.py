"""The service's HTTP side: take orders, say how each gets on, hand out pictures; and a page that shows it all."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import ValidationError
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from taskiq import TaskiqResult
from taskiq.depends.progress_tracker import TaskProgress

from examples.jobs.ledger import Standing
from examples.jobs.settings import EXPRESS_ROOM, ROOM
from examples.jobs.tasks import GROUP, STREAM, broker, job, ledger, now, settings
from examples.jobs.work import Order

#: Bytes that an order may have.
_BODY: Final = 4096

#: Seconds to stay away, at least and at most, before asking for a job again.
_SOONEST, _LATEST = 1, 10

#: Seconds that waitroom may take to say how a room stands.
_NUMBERS_SECONDS: Final = 2.0

_PAGE: Final = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


class Refused(HTTPException):
    """An answer that says what is wrong, as a problem document (RFC 9457); `more` are further members of it."""

    def __init__(self, status: int, title: str, detail: str, **more: Any) -> None:
        super().__init__(status, detail)
        self.document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}


async def submit(request: Request) -> Response:
    """POST /jobs: 202 for a job that runs or will, 200 for one whose outcome is kept."""
    order = _order(await _body(request))
    name = order.key()
    known = await ledger.standing(name)
    if known is None and await ledger.claim(name):
        await _start(name, order)
    known = known or await ledger.standing(name)
    ended = known is not None and known.outcome is not None
    return _answer(name, known or Standing(None, None), status=200 if ended else 202)


async def show(request: Request) -> Response:
    """GET /jobs/{job}: how it gets on."""
    name = request.path_params["job"]
    return _answer(name, await _known(name), status=200)


async def picture(request: Request) -> Response:
    """GET /jobs/{job}/picture: what was ordered, once it is there."""
    outcome = (await _known(request.path_params["job"])).outcome
    if outcome is None or outcome.is_err:
        raise Refused(409, "No picture", "the job has not ended well; GET the job to see how it stands")
    return Response(base64.b64decode(outcome.return_value["picture"]), media_type="image/png")


async def front(_request: Request) -> Response:
    """GET /: a page to order from, and the numbers of the moment."""
    return HTMLResponse(_PAGE, headers={"Cache-Control": "no-cache"})


async def numbers(request: Request) -> Response:
    """GET /numbers: how many workers have listened, and how each room stands."""
    rooms = await asyncio.gather(*(_standing(request.state.http, room) for room in (ROOM, EXPRESS_ROOM)))
    document = {"workers": await ledger.listening(STREAM, GROUP), "rooms": rooms}
    return JSONResponse(document, headers={"Cache-Control": "no-store"})


async def _standing(http: httpx.AsyncClient, room: str) -> dict[str, Any]:
    """What waitroom says of a room to anybody."""
    try:
        said = (await http.get(f"/v1/rooms/{room}")).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        raise Refused(503, "Not now", f"waitroom does not say how room {room!r} stands; try again") from None
    kept = {name: said[name] for name in ("room", "waiting", "capacity", "eta_seconds")}
    return {**kept, "inside": said["occupancy"]}


async def ready(_request: Request) -> Response:
    """GET /readyz: how many workers have listened; 503 while there is none."""
    listening = await ledger.listening(STREAM, GROUP)
    return JSONResponse({"workers": listening}, 200 if listening else 503)


async def _start(name: str, order: Order) -> None:
    try:
        await job.kicker().with_task_id(name).with_labels(submitted_at=now()).kiq(order.model_dump())
    except Exception:
        await ledger.disclaim(name)
        raise
    await ledger.started(name)


async def _known(name: str) -> Standing:
    standing = await ledger.standing(name)
    if standing is None:
        raise Refused(404, "No such job", f"{name[:80]!r} was not asked for, or its outcome has lapsed")
    return standing


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "Not JSON", f"content-type must be application/json, got {kind[:80]!r}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY:
            raise Refused(413, "Body too large", f"an order has at most {_BODY} bytes")
    return body


def _order(body: bytes) -> Order:
    try:
        return Order.model_validate_json(body)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise Refused(400, "Not JSON", error.errors()[0]["msg"]) from None
        faults = [_fault(each) for each in error.errors(include_url=False, include_context=False)]
        detail = "; ".join(f"{fault['field']}: {fault['reason']}, got {fault['value']}" for fault in faults)
        raise Refused(422, "Not a valid order", detail, errors=faults) from None


def _fault(error: Any) -> dict[str, str]:
    """Field, value and reason of one fault. The field is "body" where no field is to blame."""
    field = ".".join(str(part) for part in error["loc"]) or "body"
    value = error["input"] if error["type"] != "missing" else None
    shown = value if isinstance(value, str) else json.dumps(value)
    return {"field": field[:80], "value": "nothing" if value is None else shown[:80], "reason": error["msg"]}


def _answer(name: str, standing: Standing, *, status: int) -> Response:
    if standing.outcome is not None:
        return JSONResponse({"job": name, **_ended(name, standing.outcome)}, status)
    document = {"job": name, **_going_on(standing.progress)}
    headers = {"Location": f"/jobs/{name}", "Retry-After": str(_retry_after(document)), "Cache-Control": "no-store"}
    return JSONResponse(document, status, headers=headers)


def _going_on(progress: TaskProgress[dict[str, Any]] | None) -> dict[str, Any]:
    if progress is None:
        return {"state": "submitted"}
    return {"state": str(progress.state), **(progress.meta or {})}


def _ended(name: str, outcome: TaskiqResult[dict[str, Any]]) -> dict[str, Any]:
    document = {
        "attempts": int(outcome.labels.get("attempt", 0)),
        **{name: outcome.labels.get(name) for name in ("submitted_at", "started_at", "finished_at")},
    }
    if outcome.is_err:
        return {"state": "failed", "reason": str(outcome.error) or type(outcome.error).__name__, **document}
    return {"state": "done", "progress": 100, "picture": f"/jobs/{name}/picture", **document}


def _retry_after(document: dict[str, Any]) -> int:
    """Later for those who wait longer, so that many who wait cost little."""
    eta = document.get("eta_seconds") or 0.0
    return round(min(max(eta / 2, _SOONEST), _LATEST))


async def _problem(_request: Request, error: Exception) -> Response:
    """The problem document of any error; Starlette logs those that nobody foresaw."""
    if isinstance(error, RedisError):
        error = Refused(503, "Not now", "the store does not answer; try again")
        error.headers = {"Retry-After": "1"}
    elif isinstance(error, HTTPException) and not isinstance(error, Refused):
        headers, error = error.headers, Refused(error.status_code, error.detail, error.detail)
        error.headers = headers
    elif not isinstance(error, Refused):
        error = Refused(500, "A fault of the service", "it is logged")
    kind = "application/problem+json"
    return JSONResponse(error.document, error.status_code, headers=error.headers, media_type=kind)


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
    await broker.startup()
    async with httpx.AsyncClient(base_url=settings.waitroom_url, timeout=_NUMBERS_SECONDS, trust_env=False) as http:
        yield {"http": http}
    await broker.shutdown()
    await ledger.close()


app = Starlette(
    routes=[
        Route("/", front),
        Route("/numbers", numbers),
        Route("/jobs", submit, methods=["POST"]),
        Route("/jobs/{job}", show),
        Route("/jobs/{job}/picture", picture),
        Route("/readyz", ready),
    ],
    exception_handlers={HTTPException: _problem, RedisError: _problem, 500: _problem},
    lifespan=_lifespan,
)
