"""docs/reasons.md has every reason that the code gives, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = (ROOT / "docs" / "reasons.md").read_text("utf-8").split("\n## ")
PYTHON = {path: path.read_text("utf-8") for path in (ROOT / "src" / "voxprint").rglob("*.py")}
SQL = "\n".join(
    path.read_text("utf-8") for path in (ROOT / "src/voxprint/db/sql/voxprint/src").glob("*.sql")
)


def on_the_page(heading: str) -> set[str]:
    section = next(each for each in SECTIONS if each.startswith(heading + "\n"))
    return set(re.findall(r"^\| `(\w+)` \|", section, re.M))


def between(text: str, begin: str, end: str) -> str:
    return text.partition(begin)[2].partition(end)[0]


def test_reasons_of_a_recording():
    quality = PYTHON[ROOT / "src/voxprint/audio/quality.py"]
    given = set(re.findall(r'"(\w+)": \w', between(quality, "    holds = {", "}")))
    known = set(
        re.findall(r"'(\w+)'", between(SQL, "_quality_reasons(quality jsonb)", "ORDINALITY"))
    )
    assert on_the_page("Of a recording") == given == known


def test_reasons_why_a_recording_cannot_be_used():
    raised = {word for text in PYTHON.values() for word in re.findall(r'\breason="(\w+)"', text)}
    assert on_the_page("Of a recording that cannot be used") == raised


def test_reasons_of_enrolments_and_answers():
    given = set(re.findall(r"array_append\((?:\w+\.)?reasons, '(\w+)'\)", SQL))
    given |= set(re.findall(r"array_append\(array_remove\([^()]*\), '(\w+)'\)", SQL))
    given |= set(re.findall(r"reasons\b[^;]*\|\| CASE [^;]*ARRAY\['(\w+)'\]", SQL))
    assert on_the_page("Of an enrolment") | on_the_page("Of an answer") == given


def test_the_command_line_has_words_for_no_other_reason():
    words = between(PYTHON[ROOT / "src/voxprint/cli/reasons.py"], "_WORDS = {", "\n}")
    everything = set().union(*(on_the_page(each.partition("\n")[0]) for each in SECTIONS[1:]))
    assert set(re.findall(r'^    "(\w+)":', words, re.M)) <= everything
