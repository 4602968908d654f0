"""The verbs that decide: verify, identify, compare. Their exit codes are the decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from voxprint.cli.options import (
    audio_options,
    database_options,
    far_option,
    json_option,
    open_gallery,
    parse_attributes,
    record_option,
    threshold_option,
)
from voxprint.cli.output import as_plain, number, print_json, print_table
from voxprint.cli.reasons import in_words
from voxprint.text import printable

if TYPE_CHECKING:
    from voxprint.audio.decode import RawFormat
    from voxprint.types import Candidate, Comparison, Embedding, Verification

EXIT = {"accept": 0, "reject": 1, "inconclusive": 3}
_FILE = click.Path(dir_okay=False, path_type=str)


@click.command()
@click.argument("speaker")
@click.argument("file", type=_FILE)
@far_option
@click.option(
    "--watchlist",
    "watchlists",
    multiple=True,
    help="Watchlist group the voice is checked against; repeatable.",
)
@record_option
@threshold_option
@audio_options
@database_options
@json_option
def verify(
    speaker: str,
    file: str,
    far: float | None,
    watchlists: Sequence[str],
    record: bool | None,
    threshold: float | None,
    channel: int | None,
    raw: RawFormat | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Is the voice in FILE the person SPEAKER?

    Exits 0 for accept, 1 for reject, 3 for inconclusive, 2 for an error.
    """
    with open_gallery(data, dsn) as gallery:
        probe = gallery.embed(file, channel=channel, raw=raw)
        result = gallery.verify(
            speaker,
            probe,
            far=far,
            watchlists=list(watchlists) or None,
            threshold=threshold,
            record=record,
        )
    if as_json:
        print_json({**as_plain(result), "probe": _heard(probe)})
        return EXIT[result.decision]
    _print_decision(result, probe.speech_seconds)
    click.echo(f"  {probe.speech_seconds:.1f} s of speech; {_reference(result)}")
    if result.watchlists:
        click.echo(printable(f"  on watchlist: {', '.join(result.watchlists)}"))
    return EXIT[result.decision]


@click.command()
@click.argument("file", type=_FILE)
@click.option("-k", default=5, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@click.option(
    "--fpir",
    type=float,
    help="How often a search for an outsider may accept anyone, in (0, 1) (default: the setting).",
)
@click.option("--group", "groups", multiple=True, help="Only members of this group; repeatable.")
@click.option("--attributes", metavar="JSON", help="Only people whose attributes contain these.")
@click.option("--path", metavar="JSONPATH", help="Only people whose attributes match this.")
@record_option
@threshold_option
@audio_options
@database_options
@json_option
def identify(
    file: str,
    k: int,
    fpir: float | None,
    groups: Sequence[str],
    attributes: str | None,
    path: str | None,
    record: bool | None,
    threshold: float | None,
    channel: int | None,
    raw: RawFormat | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Whose voice is in FILE? The most similar people, best first, or nobody.

    Exits 0 where somebody is accepted, 1 for nobody, 3 for inconclusive, 2 for an error.
    """
    with open_gallery(data, dsn) as gallery:
        probe = gallery.embed(file, channel=channel, raw=raw)
        results = gallery.identify(
            probe,
            k=k,
            fpir=fpir,
            groups=list(groups) or None,
            attributes=parse_attributes(attributes),
            attributes_path=path,
            threshold=threshold,
            record=record,
        )
    if as_json:
        print_json(results)
        return EXIT[_overall(results)]
    click.echo(printable(_who(results, probe.speech_seconds)))
    if results:
        print_table(
            ["rank", "speaker", "decision", "score", "LLR", "margin"],
            [
                (r.rank, r.speaker, r.decision, number(r.score, 3), number(r.llr), number(r.margin))
                for r in results
            ],
        )
    return EXIT[_overall(results)]


@click.command()
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@far_option
@threshold_option
@audio_options
@database_options
@json_option
def compare(
    a: str,
    b: str,
    far: float | None,
    threshold: float | None,
    channel: int | None,
    raw: RawFormat | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Are recordings A and B of one person? Nothing is stored. Exit codes as of verify."""
    with open_gallery(data, dsn) as gallery:
        heard = [gallery.embed(file, channel=channel, raw=raw) for file in (a, b)]
        result = gallery.compare(*heard, far=far, threshold=threshold)
    if as_json:
        print_json({**as_plain(result), "a": _heard(heard[0]), "b": _heard(heard[1])})
        return EXIT[result.decision]
    _print_decision(result, min(each.speech_seconds for each in heard))
    click.echo("  " + " and ".join(f"{e.speech_seconds:.1f} s" for e in heard) + " of speech")
    return EXIT[result.decision]


def _print_decision(result: Verification | Comparison, speech_seconds: float) -> None:
    """Print decision, numbers and reasons; what is inconclusive begins with why."""
    why = in_words(result.reasons, speech_seconds)
    if result.decision == "inconclusive":
        click.echo(f"inconclusive: {why or 'between acceptance and rejection'}")
        click.echo(f"  {_numbers(result)}")
        return
    click.echo(f"{result.decision}: {_numbers(result)}")
    if why:
        click.echo(f"  note: {why}")


def _numbers(result: Verification | Comparison) -> str:
    numbers = f"score {result.score:.3f}"
    if result.llr is not None:
        numbers += f", LLR {result.llr:.2f}"
    if result.threshold_llr is None:
        return numbers
    numbers += f", accepted from {result.threshold_llr:.2f}"
    if result.reject_llr is not None:
        numbers += f", rejected below {result.reject_llr:.2f}"
    return numbers + (f" (false-accept rate {100 * result.far:g} %)" if result.far else "")


def _reference(result: Verification) -> str:
    channel = "" if result.channel == "any" else f"{result.channel} "
    others = f", normalised by {result.cohort} others" if result.cohort else ""
    recorded = f"; decision {result.decision_id}" if result.decision_id is not None else ""
    return f"compared with the {channel}voiceprint{others}{recorded}"


def _overall(results: Sequence[Candidate]) -> str:
    """What the whole search says: its best decision, ``reject`` where nobody was compared."""
    decisions = {each.decision for each in results}
    return next((d for d in ("accept", "inconclusive") if d in decisions), "reject")


def _who(results: Sequence[Candidate], speech_seconds: float) -> str:
    if not results:
        return "nobody is enrolled who meets the conditions"
    overall = _overall(results)
    if overall == "reject":
        return "nobody"
    chosen = [each for each in results if each.decision == overall]
    names = ", ".join(each.speaker for each in chosen)
    if overall == "accept":
        return f"identified: {names}"
    why = in_words(chosen[0].reasons, speech_seconds)
    return f"inconclusive: perhaps {names}" + (f" ({why})" if why else "")


def _heard(probe: Embedding) -> dict[str, Any]:
    return {"speech_seconds": probe.speech_seconds, "quality": probe.quality}


COMMANDS = (verify, identify, compare)
