"""Where a gallery is: the embedded server of a data folder, or a PostgreSQL of your own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from voxprint.api.verbs import Voxprint
from voxprint.errors import UsageError

if TYPE_CHECKING:
    from voxprint.audio.decode import Limits
    from voxprint.db.server import Server


def open(  # noqa: A001 (voxprint.open, as in gzip.open and wave.open)
    data: str | os.PathLike[str] | None = None,
    *,
    dsn: str | None = None,
    model: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
) -> Voxprint:
    """Open a gallery: of the embedded server, or of your own PostgreSQL.

    Args:
        data: folder of the embedded server; joined where it runs, else started for as long as
            the returned object is open. Default: ``VOXPRINT_DATA``, then a folder of this user.
        dsn: connection string of a PostgreSQL with extension ``voxprint``
            (``voxprint install``). Default: ``VOXPRINT_DSN``. Excludes ``data``.
        model: name of the encoder that hears recordings, or the TOML file of one of your own: an
            embedded server learns of it, in another an administrator calls
            :meth:`Voxprint.register_model`. Default: ``VOXPRINT_MODEL``, then
            ``campplus_zh_en_192``.
        weights: path or https URL of the encoder's weights, in place of the cache.
        limits: largest and longest recording; default 32 MiB and 10 minutes.
    Returns:
        Voxprint, usable as a context manager.
    Raises:
        UsageError: both ``data`` and ``dsn`` were given.
        ServerStartError: the embedded server does not start.
        DatabaseError: the server of ``dsn`` cannot be reached.
        ExtensionVersionError: it lacks the extension, or has another version.
    """
    from voxprint.db.connection import Database

    if data is not None and dsn is not None:
        raise UsageError("give either data or dsn, both came")
    if data is None:
        dsn = dsn or os.environ.get("VOXPRINT_DSN")
    if dsn is not None:
        return Voxprint(Database(dsn), model=model, weights=weights, limits=limits)
    server = embedded_server(data)
    server.join_or_start()
    try:
        database = Database(server.conninfo())
        return Voxprint(database, server=server, model=model, weights=weights, limits=limits)
    except BaseException:
        server.stop()
        raise


def embedded_server(
    data: str | os.PathLike[str] | None = None, *, port: int | None = None
) -> Server:
    """Return the embedded server of a data folder, not yet started.

    Args:
        data: the folder; default ``VOXPRINT_DATA``, then the default folder of this user.
        port: loopback TCP port to listen on as well; default none, the socket alone.
    """
    from voxprint.db.server import Server
    from voxprint.db.settings import default_data

    return Server(data or os.environ.get("VOXPRINT_DATA") or default_data(), port=port)
