"""Without a proxy: ASGI middleware that puts a waiting room in front of one application.

Against a waitroom server: its gate is asked for each request. With this in a file `shop.py`, the command
`uvicorn shop:app --port 8001` runs it, once the room is there (`waitroom room set shop capacity=50`):

```python
from fastapi import FastAPI
from waitroom.asgi import WaitroomGate

app = FastAPI()


@app.get("/")
def front() -> str:
    return "the shop"


@app.get("/healthz")
def healthz() -> str:
    return "alive"


app.add_middleware(WaitroomGate, room="shop", server="http://127.0.0.1:8000", exempt=["/healthz"])
```

Or on a Redis, with an instance inside the application's process:

```python
import os

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from waitroom.asgi import WaitroomGate


def front(request):
    return PlainTextResponse("the shop")


app = WaitroomGate(
    Starlette(routes=[Route("/", front)]),
    room="shop",
    redis_url="redis://10.0.0.5:6379/0",
    signing_keys=os.environ["WAITROOM_SIGNING_KEYS"].split(","),
    rooms={"shop": {"capacity": 500}},
    exempt_prefixes=["/static/"],
)
```
"""

from __future__ import annotations

from waitroom.extras import server_fault

if (_fault := server_fault("waitroom.asgi", extra="asgi")) is not None:
    raise ImportError(_fault)

from waitroom.asgi.middleware import WaitroomGate  # needs the server's packages

__all__ = ["WaitroomGate"]
