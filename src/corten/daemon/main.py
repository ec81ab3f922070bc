"""`corten daemon`: from the command line to a serving daemon and back. Runs in the daemon's only process.

Order matters: the configuration is checked before anything is touched; the zygote is forked before there are threads,
connections or secrets; sockets open last, when what an earlier daemon left has been taken over. `corten daemon stop`
ends a running one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from corten.daemon.config import Config, load, parse_flags
from corten.errors import CortenError
from corten.lib.disk_full import words


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        flags, asked = parse_flags(arguments)
        if asked.get("version"):
            from corten.api.compat import ENGINE_VERSION

            return _say(f"Corten version {ENGINE_VERSION}")
        config = load(flags)
        if asked.get("validate"):
            return _say("configuration OK")
        if asked.get("command") == "stop":
            from corten.daemon.stop import stop

            return _say(stop(config))
        return _run(config)
    except CortenError as error:
        return _fail(error.message, error.hint)
    except OSError as error:
        return _fail(words(error), str(getattr(error, "hint", "")))


def _run(config: Config) -> int:
    from corten.daemon.run import run
    from corten.lib import faultpoint, log

    log.configure(level=config.log_level, json_lines=config.text("log-format") == "json")
    faultpoint.arm(os.environ.pop("CORTEN_FAULT", ""))
    return run(config)


def _say(text: str) -> int:
    sys.stdout.write(text + "\n")
    return 0


def _fail(text: str, hint: str) -> int:
    sys.stderr.write(f"corten daemon: {text}\n" + (f"{hint}\n" if hint else ""))
    return 1


if __name__ == "__main__":
    sys.exit(main())
