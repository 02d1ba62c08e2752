"""The run as a web service: Starlette and uvicorn around a `Host`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ganglion.errors import DataError, ToolchainError, TrustError
from ganglion.federated.channel.host import Host, Stale

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

LINGER_SECONDS = 3.0
"""How long the server stays after the last round, so that devices hear of the end."""


def application(host: Host) -> "Starlette":
    """POST /join and POST /work, as `device.light` says; GET /status for whoever may look.

    Raises ToolchainError where Starlette is missing."""
    try:
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise ToolchainError("serving a run needs Starlette and uvicorn: pip install "
                             "'ganglion[federated]'") from error

    async def join(client: int, body: bytes) -> Response:
        try:
            return Response(host.join(client, body))
        except DataError as error:
            return Response(str(error), 400)

    async def work(client: int, body: bytes) -> Response:
        task = await host.work(client, body)
        if task is None:
            return Response(status_code=410 if host.over else 204)
        return Response(task)

    def admitted(then: Callable[[int, bytes], Awaitable[Response]]
                 ) -> Callable[["Request"], Awaitable[Response]]:
        async def answer(request: "Request") -> Response:
            body = await _body(request, host.most_bytes)
            if body is None:
                return Response(f"a message of more than {host.most_bytes} bytes", 413)
            try:
                client = host.register.admit(request.headers.get("g", ""), request.url.path, body)
            except Stale as error:
                return Response(str(error.last), 409)
            except TrustError as error:
                return Response(str(error), 401)
            return await then(client, body)
        return answer

    async def status(request: "Request") -> Response:
        return JSONResponse(host.status())

    return Starlette(routes=[Route("/join", admitted(join), methods=["POST"]),
                             Route("/work", admitted(work), methods=["POST"]),
                             Route("/status", status)])


async def _body(request: "Request", most: int) -> bytes | None:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


def serve(make: Callable[[], Host], *, address: str = "127.0.0.1", port: int = 8443,
          certificate: Path | None = None, key: Path | None = None,
          ready: Callable[[int], None] = lambda port: None) -> None:
    """Serves the run that `make` gives until it is over. `certificate`, `key`: PEM files of TLS.
    `ready`: called with the port when devices may come (0 chooses one)."""
    asyncio.run(_serve(make, address, port, certificate, key, ready))


async def _serve(make: Callable[[], Host], address: str, port: int, certificate: Path | None,
                 key: Path | None, ready: Callable[[int], None]) -> None:
    host = make()
    app = application(host)
    import uvicorn  # beside Starlette

    server = uvicorn.Server(uvicorn.Config(
        app, host=address, port=port, log_level="warning", ssl_certfile=certificate,
        ssl_keyfile=key, date_header=False, server_header=False, timeout_keep_alive=120,
        timeout_graceful_shutdown=1))
    running = asyncio.create_task(server.serve())
    while not server.started and not running.done():
        await asyncio.sleep(0.02)
    if running.done():
        await running
        raise DataError(f"cannot serve on {address}:{port}: is the port taken?")
    ready(server.servers[0].sockets[0].getsockname()[1])
    while not host.over and not running.done():
        await asyncio.sleep(0.1)
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(LINGER_SECONDS)
    server.should_exit = True
    await running
    host.register.close()
    host.store.close()
