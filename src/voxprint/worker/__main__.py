"""``python -m voxprint.worker``: the worker's parent process, started by ``Worker``.

The first line of standard input holds the settings; its end is the order to stop. The one line
of standard output says that the worker is ready, or why it never will be.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys

from voxprint.errors import VoxprintError
from voxprint.worker.parent import Busy, Parent, acting_as, listen, say
from voxprint.worker.settings import Settings


def main() -> int:
    """Serve until told to stop; 1 where the worker could not be started."""
    logging.basicConfig(format="voxprint worker: %(message)s", level=logging.INFO)
    settings = Settings.from_json(_first_line(0))
    try:
        listener, lock = listen(settings)
    except Busy:
        say({"busy": True})
        return 0
    except OSError as error:
        say({"error": f"cannot listen on {settings.address}: {error.strerror}"})
        return 1
    failed = False

    def report(reason: str | None) -> None:
        nonlocal failed
        failed = reason is not None
        port = settings.address.port if settings.address.is_unix else listener.getsockname()[1]
        say({"error": reason} if failed else {"ready": True, "port": port})

    try:
        _prepare(settings)
        os.chdir("/")
        private = [] if lock is None else [lock.fileno()]
        Parent(settings, listener, 0, report, private).run()
    except VoxprintError as error:
        say({"error": str(error), "hint": error.hint, "code": error.code})
        failed = True
    finally:
        listener.close()
        if lock is not None:
            with contextlib.suppress(OSError), acting_as(settings.account):
                settings.address.socket_path.unlink(missing_ok=True)
            lock.release()
    return int(failed)


def _first_line(descriptor: int) -> str:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            raise SystemExit(0)
        line += byte
    return line.decode()


def _prepare(settings: Settings) -> None:
    """Import everything that the children need, and have the networks built and cached."""
    if sys.platform == "darwin":
        return
    import encodings.idna  # noqa: F401  (looked up by name only, when it is too late)

    import av  # noqa: F401
    import onnxruntime  # noqa: F401
    import soxr  # noqa: F401

    from voxprint.encoder.sources import load_denoiser, load_detector, load_graph
    from voxprint.encoder.spec import PublishedFile, find_model
    from voxprint.worker import compute, front  # noqa: F401

    for name in settings.models:
        spec = find_model(name)
        load_graph(spec, weights=settings.weights_of(name))
        load_detector(spec)
        if isinstance(spec.denoise, PublishedFile):
            load_denoiser(spec.denoise)


if __name__ == "__main__":
    sys.exit(main())
