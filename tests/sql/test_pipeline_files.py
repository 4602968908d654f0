"""Files in the worker's media folder, for members of open_analytic_files."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from article_voices import recording

from voxprint.db.server import Server
from voxprint.worker.supervisor import Worker

RUN = "SELECT open_analytic.pipeline_run_dist_random('p', %s::text)::text"
RUN_BYTES = "SELECT open_analytic.pipeline_run_dist_random('p', %s::bytea)::text"


@pytest.fixture
def connection(open_folder) -> Iterator[psycopg.Connection]:
    """Superuser of a server whose worker reads files below ``media``."""
    (open_folder / "media").mkdir()
    server = Server(open_folder / "data", settings={"fsync": "off"})
    with (
        server,
        Worker(server, processes=1, media=open_folder / "media"),
        psycopg.connect(server.conninfo(), autocommit=True) as connected,
    ):
        connected.execute("SELECT open_analytic.pipeline_create('p')")
        yield connected


def test_files_of_the_media_folder(open_folder, connection):
    media = open_folder / "media"
    path = media / "day 1" / "声纹.wav"
    path.parent.mkdir()
    path.write_bytes(recording(1))
    (open_folder / "outside.wav").write_bytes(recording(2))
    (media / "link.wav").symlink_to(open_folder / "outside.wav")
    name = ["day 1/声纹.wav"]

    connection.execute("CREATE ROLE member IN ROLE open_analytic_files; SET ROLE member")
    same = connection.execute(RUN_BYTES, [recording(1)]).fetchone()
    assert connection.execute(RUN, name).fetchone() == same

    for other in ("../outside.wav", "link.wav", str(open_folder / "outside.wav"), "", "no"):
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(RUN, [other])
        assert caught.value.sqlstate == "VX006", other

    with connection.transaction():  # a changed file is read again by the next statement
        first = connection.execute(RUN, name).fetchone()
        path.write_bytes(recording(3))
        second = connection.execute(RUN, name).fetchone()
    assert first == same
    assert second == connection.execute(RUN_BYTES, [recording(3)]).fetchone() != first

    connection.execute("RESET ROLE; CREATE ROLE stranger; SET ROLE stranger")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(RUN, name)
