"""Whether the client of a session still answers: asked as BuildKit asks (grpc.health.v1). Daemon's loop.

A client whose machine is gone, or that hangs, keeps its connection open; its builds would wait for it for ever. One
that does not serve the question is not asked. Over a slow line the question and its answer wait behind files: a client
of which anything has come meanwhile is there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from corten.build.buildkit.messages.control import HealthRequest, HealthResponse
from corten.lib.grpc.channel import Channel
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.protobuf.wire import Malformed

CHECK = "/grpc.health.v1.Health/Check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often it is asked, how long an answer may take (seconds), and how many may fail in a row."""

    interval_s: float = 5.0
    timeout_s: float = 15.0
    failures: int = 2


RHYTHM = Rhythm()


async def watch(channel: Channel, rhythm: Rhythm = RHYTHM) -> None:
    """Ask until the client does not answer any more; for ever when it does not know the question."""
    failed = 0
    while failed < rhythm.failures:
        await asyncio.sleep(rhythm.interval_s)
        heard = channel.heard
        try:
            await channel.unary(CHECK, HealthRequest(), HealthResponse, timeout_s=rhythm.timeout_s)
        except GrpcError as error:
            if error.status is Code.UNIMPLEMENTED:
                await asyncio.Event().wait()
            is_slow = error.status is Code.DEADLINE_EXCEEDED and channel.heard != heard
            failed = 0 if is_slow else failed + 1
        except Malformed:
            failed += 1
        else:
            failed = 0
