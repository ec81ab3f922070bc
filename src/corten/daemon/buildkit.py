"""Puts BuildKit's API together; imported when the first of its clients comes. Daemon only."""

from __future__ import annotations

import hashlib
from pathlib import Path

from corten.build.buildkit.control import Control
from corten.build.buildkit.exporting import Exporting
from corten.build.buildkit.frontend import Frontend
from corten.build.buildkit.gateway import Gateway
from corten.build.buildkit.history.calls import HistoryCalls
from corten.build.buildkit.history.history import History
from corten.build.buildkit.history.recording import Recorder
from corten.build.buildkit.history.store import HistoryStore
from corten.build.buildkit.jobs import Jobs
from corten.build.buildkit.linked import Results
from corten.build.buildkit.messages.control import WorkerRecord
from corten.build.buildkit.reading import ResultFiles
from corten.build.buildkit.service import BuildKit
from corten.build.buildkit.sessions import Sessions
from corten.build.buildkit.worker import worker
from corten.build.cache_upkeep import CacheUpkeep
from corten.build.exporters.export import Exporters
from corten.build.fetching import Fetching
from corten.build.finisher import Finisher
from corten.build.ops.store import Snapshots
from corten.build.service import BuildService
from corten.build.session.contexts import KeptContexts
from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.engine.images.spool import Spool
from corten.engine.platforms import platforms_here
from corten.lib import blocking

_ID_LENGTH = 25


def buildkit_service(
    *,
    service: BuildService,
    exporters: Exporters,
    finisher: Finisher,
    contexts: KeptContexts,
    fetching: Fetching,
    spool: Spool,
    upkeep: CacheUpkeep,
    library: ImageLibrary,
    snapshots: Snapshots,
    history_dir: Path,
    events: Events,
    identity: str,
    gateway_ip: str,
    limit_bytes: int,
) -> BuildKit:
    """BuildKit's API on a build service. `identity` tells this engine from others."""
    worker_id = hashlib.sha256(identity.encode()).hexdigest()[:_ID_LENGTH]

    async def record() -> WorkerRecord:
        return worker(worker_id, gateway_ip, await blocking.run(platforms_here), limit_bytes)

    sessions, jobs = Sessions(), Jobs()
    history = History(HistoryStore(history_dir))
    recorder = Recorder(history=history, finisher=finisher, library=library)
    frontend = Frontend(
        service=service, sessions=sessions, contexts=contexts, fetching=fetching, spool=spool, results=Results()
    )
    exporting = Exporting(exporters=exporters, finisher=finisher, sessions=sessions, events=events)
    return BuildKit(
        control=Control(
            jobs=jobs,
            frontend=frontend,
            exporting=exporting,
            upkeep=upkeep,
            worker_record=record,
            history=history,
            recorder=recorder,
        ),
        gateway=Gateway(jobs=jobs, frontend=frontend, files=ResultFiles(snapshots), worker_record=record),
        history=HistoryCalls(history),
        sessions=sessions,
    )
