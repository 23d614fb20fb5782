"""What operators and probes ask: is it up, and how is it doing."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from server.errors import retry_headers
from server.state import AppState


def create_router(state: AppState) -> APIRouter:
    """`/health`, open to all, and `/metrics`."""
    router = APIRouter(tags=["operations"])

    @router.get("/health")
    async def health() -> Response:  # pyright: ignore[reportUnusedFunction]
        """200 when requests are taken, else 503 with the phase."""
        phase = state.admission.closed or state.engine.phase
        if phase != "ready":
            body = msgspec.json.encode({"status": "unavailable", "phase": phase})
            return Response(body, 503, retry_headers(2), media_type="application/json")
        stats = state.engine.stats
        body = msgspec.json.encode(
            {
                "status": "ok",
                "phase": phase,
                "model": state.engine.model.id,
                "running": stats.running,
                "waiting": stats.waiting,
            }
        )
        return Response(body, media_type="application/json")

    @router.get("/metrics")
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Prometheus text."""
        return Response(state.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return router
