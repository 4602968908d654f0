"""docs/sql.md is true: its SQL runs, it names every function, and its tables agree with the code.

A block marked ``sql run`` must succeed, one marked ``sql error=VX001`` must fail with that
SQLSTATE; a ``text output`` block is what psql prints for the block before it, a ``text excerpt``
stands in that.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from voxprint.db.server import Server
from voxprint.demo.recordings import speak
from voxprint.errors import SQLSTATES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sql.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", PAGE, re.M | re.S)
OURS = ("voxprint", "fastann", "open_analytic")
ROLES = ("public", "voxprint_admin", "open_analytic_files")  # admin holds reader and operator
ROLES_OF_THE_PAGE = ("app", "front_desk")
TYPES = {
    "float8": "double precision",
    "int": "integer",
    "timestamptz": "timestamp with time zone",
}


@pytest.fixture
def connection(server: Server, worker, database: str, tmp_path: Path) -> Iterator[str]:
    """The superuser's connection string; roles that a failing page leaves behind are dropped."""
    speak(tmp_path / "voices")
    yield server.conninfo(database)
    with psycopg.connect(server.conninfo(database), autocommit=True) as superuser:
        for role in ROLES_OF_THE_PAGE:
            if superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                superuser.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_page_runs_from_top_to_bottom(server: Server, connection: str, tmp_path: Path):
    script: list[str] = ["\\set ON_ERROR_STOP on"]
    expected: list[tuple[str, str] | None] = []
    for language, mark, code in BLOCKS:
        if language == "text" and mark:
            expected[-1] = (mark, stripped(code))
        elif language == "sql" and mark == "run":
            script += [f"\\echo block {len(expected)}", code]
            expected.append(None)
        elif language == "sql" and mark.startswith("error="):
            script += [f"\\echo block {len(expected)}", "\\set ON_ERROR_STOP off", code]
            script += ["\\echo :SQLSTATE", "\\set ON_ERROR_STOP on"]
            expected.append(("output", mark.removeprefix("error=")))
        else:
            assert language == "text", f"unknown mark: {language} {mark}"
    done = subprocess.run(
        [str(server.psql), "-X", "-q", "-f", "-", connection],
        input="\n".join(script),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    printed = re.split(r"^block \d+\n", done.stdout, flags=re.M)[1:]
    assert done.returncode == 0, f"after block {len(printed) - 1}: {done.stderr[:2000]}"
    assert len(printed) == len(expected) > 30
    for answer, shown in zip(printed, expected, strict=True):
        if shown is not None:
            mark, words = shown
            assert words == stripped(answer) if mark == "output" else words in answer


def stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def test_every_function_is_on_the_page_with_its_signature(db: psycopg.Connection):
    assert signatures_of_the_page() == signatures_of_the_database(db)


def signatures_of_the_page() -> dict[str, str | None]:
    """``schema.name(arg type = default, ...)`` -> columns or type of the result."""
    found: dict[str, str | None] = {}
    open_ones: list[str] = []
    for language, mark, code in BLOCKS:
        if language != "text" or mark:
            continue
        for call, arguments, result in re.findall(
            r"^([\w.]+)\(([^)]*)\)\n((?: +[^\n]*\n)*)", code, re.M
        ):
            schema = "" if "." in call else "public."
            signature = f"{schema}{call}({normal(arguments)})"
            open_ones.append(signature)
            found[signature] = None
            if "→" in result:
                found |= dict.fromkeys(open_ones, columns(result))
                open_ones = []
        open_ones = []
    return found


def columns(result: str) -> str:
    """The first line up to its remark, and the lines that go on where it has none."""
    first, *rest = result.replace("→", "").replace("setof ", "").strip().split("\n")
    named, *remark = re.split(r" {3,}", first)
    return normal(named if remark else " ".join([named, *rest]))


def normal(arguments: str) -> str:
    """Types by PostgreSQL's own names, defaults without their casts, single blanks."""
    parts = []
    for part in filter(None, arguments.replace("DEFAULT ", "= ").split(",")):
        words = re.sub(r"::[\w ]+(\[\])?", "", part).split()
        if words[0] != "OUT":
            parts.append(" ".join(TYPES.get(word, word) for word in words))
    return ", ".join(parts)


def signatures_of_the_database(db: psycopg.Connection) -> dict[str, str | None]:
    rows = db.execute(
        r"""
        SELECT n.nspname || '.' || p.proname, pg_get_function_arguments(p.oid),
               coalesce(
                   (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, NULL), ','
                                      ORDER BY a.attnum)
                      FROM pg_attribute AS a JOIN pg_type AS t ON t.typrelid = a.attrelid
                     WHERE t.oid = p.prorettype AND t.typtype = 'c' AND a.attnum > 0),
                   substring(pg_get_function_result(p.oid) FROM '^TABLE\((.*)\)$'),
                   pg_get_function_result(p.oid))
          FROM pg_proc AS p
          JOIN pg_namespace AS n ON n.oid = p.pronamespace
          JOIN pg_depend AS d ON d.objid = p.oid AND d.deptype = 'e'
          JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = ANY (%(ours)s)
         WHERE p.proname NOT LIKE '\_%%'
           AND EXISTS (SELECT FROM unnest(%(roles)s::name[]) AS role
                        WHERE has_function_privilege(role, p.oid, 'EXECUTE'))
        """,
        {"ours": list(OURS), "roles": list(ROLES)},
    ).fetchall()
    shown = signatures_of_the_page()
    found: dict[str, str | None] = {}
    for name, arguments, result in rows:
        signature = f"{name}({normal(arguments)})"
        # Parts that nobody calls stand there without a result.
        found[signature] = None if shown.get(signature, "") is None else normal(result)
    return found


def test_every_sqlstate_is_on_the_page():
    table = re.findall(r"^\| (VX\d+) \|.*\| `(\w+)` \|$", PAGE, re.M)
    assert dict(table) == {code: kind.__name__ for code, kind in SQLSTATES.items()}
