"""How much audio the front holds at once, whoever sends it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """A number of bytes that sessions share, first come, first served.

    Args:
        total: bytes; one request for more than that waits until it is alone.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._turns: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.used = 0

    @asynccontextmanager
    async def of(self, amount: int) -> AsyncIterator[None]:
        """Hold ``amount`` bytes while the context lasts; waits for its turn."""
        await self._take(amount)
        try:
            yield
        finally:
            self.used -= amount
            self._grant()

    async def _take(self, amount: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (amount, turn)
        self._turns.append(entry)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._turns:
                self._turns.remove(entry)
            else:
                self.used -= amount
            self._grant()
            raise

    def _grant(self) -> None:
        while self._turns:
            amount, turn = self._turns[0]
            if self.used and self.used + amount > self._total:
                return
            self._turns.popleft()
            self.used += amount
            turn.set_result(None)
