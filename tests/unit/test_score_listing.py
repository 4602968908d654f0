"""Trial lists and score files as Kaldi, NIST and VoxCeleb write them, read and written."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxprint.errors import UsageError
from voxprint.score.listing import read_lines
from voxprint.score.naming import Names, Recording
from voxprint.score.scorefile import ScoredTrials, read_scores, write_scores, write_trials
from voxprint.score.trials import read_trials

KALDI = "amy utt1 target\namy utt2 nontarget\nbob utt2 target\n"
VOXCELEB = "1 amy utt1\n0 amy utt2\n1 bob utt2\n"
TABLE = "label\tenrol\ttest\n1\tamy\tutt1\n0\tamy\tutt2\n1\tbob\tutt2\n"
NIST = (
    "modelid\tsegmentid\tside\ttargettype\tgender\n"
    "amy\tutt1\ta\ttarget\tf\namy\tutt2\ta\tnontarget\tf\nbob\tutt2\ta\ttarget\tm\n"
)
OLD_NIST = "amy utt1 a target\namy utt2 a nontarget\nbob utt2 a target\n"
FORMATS = {"kaldi": KALDI, "voxceleb": VOXCELEB, "tsv": TABLE, "nist": NIST}


@pytest.fixture
def file(tmp_path):
    def file(text, name="list.txt"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return file


@pytest.fixture
def trials(file):
    return read_trials(file(KALDI), None)


# -- lists -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "text"), [*FORMATS.items(), ("nist", OLD_NIST)], ids=[*FORMATS, "older nist"]
)
@pytest.mark.parametrize("told", [False, True])
def test_a_format_is_recognised_by_its_first_line(file, form, text, told):
    trials = read_trials(file(text), None, given=form if told else None)
    assert trials.format == form
    assert trials.names == ("amy", "utt1", "utt2", "bob")
    assert trials.same.tolist() == [True, False, True]
    assert trials.enrol.tolist() == [0, 0, 3]
    assert trials.test.tolist() == [1, 2, 2]
    assert trials.speaker[0] == trials.speaker[1] != trials.speaker[2] == trials.speaker[3]
    assert trials.columns == ({"gender": ("f", "f", "m")} if text is NIST else {})


@pytest.mark.parametrize(("form", "text"), FORMATS.items())
@pytest.mark.parametrize("other", FORMATS)
def test_a_list_is_of_the_format_it_is_said_to_be_or_refused(file, form, text, other):
    if form == other or (form, other) == ("kaldi", "nist"):
        # A bare line without a side is both.
        assert read_trials(file(text), None, given=other).format == other
    else:
        with pytest.raises(UsageError, match=f"expected the format {other}|the header lacks"):
            read_trials(file(text), None, given=other)


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_written_reads_back_alike(file, tmp_path, form):
    trials = read_trials(file(NIST), None)
    (path,) = write_trials(tmp_path / "out", trials, form)
    again = read_trials(path, None)
    assert (again.format, again.names) == (form, trials.names)
    assert again.same.tolist() == trials.same.tolist()
    assert again.test.tolist() == trials.test.tolist()


def test_side_b_is_another_recording(file, tmp_path):
    text = "modelid\tsegmentid\tside\ttargettype\nm\tcall\tb\ttarget\nm\tcall\ta\tnontarget\n"
    trials = read_trials(file(text), None)
    assert trials.names == ("m", "call:b", "call")
    (path,) = write_trials(tmp_path / "key.tsv", trials, "nist")
    assert path.read_text() == text
    with pytest.raises(UsageError, match="line 2: expected side a or b, got 'x'"):
        read_trials(file(text.replace("\tb\t", "\tx\t")), None)


def test_a_name_with_a_blank_has_no_place_in_bare_lines(file, tmp_path):
    trials = read_trials(file(TABLE.replace("amy", "amy b")), None)
    with pytest.raises(UsageError, match=r"names without blanks .* 'amy b'"):
        write_trials(tmp_path / "out", trials, "kaldi")
    assert not (tmp_path / "out").exists()


# -- names -----------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "speech"
    for name in ("1.wav", "2.wav", "3.wav", "two words.wav", "call.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def test_kaldi_names_lead_to_the_recordings_of_a_speaker(file, root):
    scp = file(f"utt1 1.wav\nutt2 {root}/2.wav\nutt3 two words.wav\nx.wav x.wav\n", "wav.scp")
    speakers = file("amy utt1 utt3\nbob utt2\n", "spk2utt")
    for mappings in ([scp, speakers], [speakers, scp]):
        names = Names(root, mappings)
        assert names.recordings("amy", "") == (Recording("1.wav"), Recording("two words.wav"))
        assert names.recordings("bob", "") == (Recording(f"{root}/2.wav"),)
        assert names.recordings("3.wav", "") == (Recording("3.wav"),)


def test_nist_enrolments_name_segments_and_sides(file, root):
    table = file("modelid\tsegmentid\tside\nm1\tcall\ta\nm1\tcall\tb\nm2\t1.wav\ta\n", "enrol.tsv")
    names = Names(root, [table, file("call call.wav\n", "wav.scp")])
    assert names.recordings("m1", "") == (Recording("call.wav"), Recording("call.wav", 1))
    assert names.recordings("call:b", "") == (Recording("call.wav", 1),)
    assert names.recordings("m2", "") == (Recording("1.wav"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utt1\n", "line 1: expected a name and a path, got 'utt1'"),
        ("utt1 sph2pipe -f wav a.sph |\n", "line 1: expected a path, got a command"),
        ("utt1 ../list.txt\n", "where: .* is not below the root"),
        ("utt1 4.wav\n", "where: no such file"),
        ("utt1 utt2\nutt2 utt1\n", "where: .* leads from name to name without end"),
        ("utt1 utt1 utt1\n", "where: "),
        ("modelid\tsegmentid\tside\nutt1\t1.wav\tx\n", "line 2: expected side a or b, got 'x'"),
    ],
)
def test_a_mapping_of_no_use_is_named_by_its_line(file, root, text, message):
    with pytest.raises(UsageError, match=message):
        Names(root, [file(text)]).recordings("utt1", "where")


@given(st.text(max_size=80))
def test_any_mapping_leads_to_recordings_or_to_a_clear_error(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "any.scp"
    path.write_text(text, encoding="utf-8", errors="replace")
    with contextlib.suppress(UsageError):
        found = Names(folder, [path]).recordings((text.split() or [""])[0], "where")
        assert all((folder / each.path).is_file() for each in found)


def test_a_model_of_several_recordings_is_not_tried_on_one_of_them(file, root):
    speakers = file("amy 1.wav 2.wav\n", "spk2utt")
    scp = file("1.wav 1.wav\n2.wav 2.wav\n", "wav.scp")
    list_ = file("amy 3.wav target\namy 2.wav nontarget\n")
    with pytest.raises(UsageError, match=r"line 2: a recording against itself: 2\.wav"):
        read_trials(list_, root, mappings=[speakers, scp])
    trials = read_trials(
        file("amy 3.wav target\namy call.wav nontarget\n"), root, mappings=[speakers, scp]
    )
    assert [r.path for r in trials.recordings] == ["1.wav", "2.wav", "3.wav", "call.wav"]
    assert trials.parts == ((0, 1), (2,), (3,))
    assert trials.paths()[0] == root / "1.wav"


# -- scores ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "amy utt1 2.5\namy utt2 -1\nbob utt2 0.5\neve utt1 9\n",
        "enrol\ttest\tscore\nbob\tutt2\t0.5\namy\tutt1\t2.5\namy\tutt2\t-1\n",
        TABLE.replace("test\n", "test\tscore\n")
        .replace("utt1\n", "utt1\t2.5\n")
        .replace("0\tamy\tutt2\n", "0\tamy\tutt2\t-1\n")
        .replace("bob\tutt2\n", "bob\tutt2\t0.5\n"),
    ],
    ids=["kaldi, with a trial of no list", "table, in another order", "the list itself"],
)
def test_scores_find_their_trials(file, trials, text):
    (scored,) = read_scores(file(text, "scores"), trials)
    assert scored.scores.tolist() == [2.5, -1, 0.5]
    assert scored.llrs is None
    (scored,) = read_scores(file(text, "scores"), trials, are_llrs=True)
    assert scored.llrs.tolist() == [2.5, -1, 0.5]


@pytest.mark.parametrize(
    "text",
    [
        "modelid\tsegmentid\tside\tLLR\namy\tutt1\ta\t2.5\namy\tutt2\ta\t-1\n",
        "amy utt1 a 2.5\namy utt2 a -1\n",
    ],
    ids=["with a header", "bare"],
)
def test_nist_scores_are_llrs_and_a_missing_one_is_no_score(file, trials, text):
    (scored,) = read_scores(file(text, "scores"), trials)
    assert np.array_equal(scored.llrs, [2.5, -1, np.nan], equal_nan=True)
    assert np.array_equal(scored.scores, scored.llrs, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("amy utt1 nan\n", "line 1: expected a score, a finite number, got 'nan'"),
        ("amy utt1 1\namy utt2 inf\n", "line 2: expected a score"),
        ("amy utt1 1\namy utt2 two\n", "line 2: expected a score"),
        ("amy utt1 1\namy utt2\n", "line 2: expected 3 columns"),
        ("amy utt1 1\namy utt1 2\n", "line 2: this trial has another score in a line above"),
        ("eve utt1 1\n", "no trial of list.txt has a score"),
        ("amy utt1 one\n", "the header lacks enrol, test, score"),
    ],
)
def test_what_is_no_score_is_named_by_its_line(file, trials, text, message):
    with pytest.raises(UsageError, match=message):
        read_scores(file(text, "scores"), trials)


def both(trials):
    first = np.array([0.123456789, np.nan, -1.0])
    return [ScoredTrials("full", first, 3 * first), ScoredTrials("1s", first - 1, 3 * first - 3)]


def test_a_table_of_scores_reads_back_by_condition(trials, tmp_path):
    (path,) = write_scores(tmp_path / "s.tsv", trials, both(trials))
    for before, after in zip(both(trials), read_scores(path, trials), strict=True):
        assert after.condition == before.condition
        assert np.allclose(after.scores, before.scores, rtol=1e-8, equal_nan=True)
        assert np.allclose(after.llrs, before.llrs, rtol=1e-8, equal_nan=True)


@pytest.mark.parametrize("form", ["kaldi", "nist"])
def test_formats_without_conditions_get_a_file_each(trials, tmp_path, form):
    paths = write_scores(tmp_path / "s.txt", trials, both(trials), form)
    assert [path.name for path in paths] == ["s-full.txt", "s-1s.txt"]
    (again,) = read_scores(paths[1], trials)
    expected = both(trials)[1].llrs if form == "nist" else both(trials)[1].scores
    assert np.allclose(again.scores, expected, rtol=1e-8, equal_nan=True)


def test_cosines_are_not_passed_off_as_llrs(trials, tmp_path):
    with pytest.raises(UsageError, match="holds log-likelihood ratios"):
        write_scores(tmp_path / "s", trials, [ScoredTrials("", np.zeros(3))], "nist")


@given(st.text(max_size=120), st.sampled_from(["label", "score"]))
def test_any_text_is_cut_into_lines_or_refused(tmp_path_factory, text, wanted):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        layout, lines = read_lines(path, wanted)
        rows = list(lines)
    except UsageError:
        return
    assert {"enrol", "test"} <= set(layout.columns)
    assert all(len(row.fields) == len(layout.columns) for row in rows)
