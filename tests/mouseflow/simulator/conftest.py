"""A simulator on a clock that tests move, spoken to without sockets."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@dataclass
class Stand:
    """A simulator with three websites: busy, quiet (only what is planted) and read-only."""

    moment: datetime = NOW
    sim: Simulator = field(init=False)
    api: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        plan = Plan(per_day=120, since=(NOW - timedelta(days=40)).date())
        self.sim = Simulator(
            seed=3,
            now=lambda: self.moment,
            quirks=Quirks(),
            sites=[
                website("busy", "busy.example", plan=plan, seed=3),
                website("quiet", "quiet.example"),
                website("closed", "closed.example", read_only=True, plan=plan, seed=4),
            ],
        )
        self.api = self.client(self.sim.email, self.sim.api_key)

    def client(self, email: str, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=InProcess(self.sim.mouseflow_app),
            base_url="http://127.0.0.1",
            auth=(email, key),
        )

    def later(self, **by: float) -> None:
        self.moment += timedelta(**by)

    async def get(self, path: str, **parameters: Any) -> Any:
        answer = await self.api.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def rows(self, site: str = "quiet", **parameters: Any) -> list[dict[str, Any]]:
        return (await self.get(f"/websites/{site}/recordings", **parameters))["recordings"]

    async def ids(self, site: str = "quiet", **parameters: Any) -> set[str]:
        return {row["id"] for row in await self.rows(site, **{"limit": 10_000, **parameters})}

    async def detail(self, recording: str, site: str = "quiet") -> dict[str, Any]:
        return await self.get(f"/websites/{site}/recordings/{recording}")

    async def do(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = await self.api.request(method, path, **more)
        assert answer.status_code == 200, answer.text
        return answer


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    it = Stand()
    async with it.api:
        yield it
