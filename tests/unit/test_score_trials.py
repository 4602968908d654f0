"""Trial lists: what is read, and what is refused with which line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.trials import read_trials

TABLE = "label\tenrol\ttest\tgender\n1\ta/1.wav\ta/2.wav\tm\n0\ta/1.wav\tb/1.wav\tmf\n"


@pytest.fixture
def root(tmp_path):
    for name in ("a/1.wav", "a/2.wav", "b/1.wav", "b/two words.wav"):
        path = tmp_path / "speech" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "speech"


@pytest.fixture
def read(tmp_path, root):
    def read(text, encoding="utf-8"):
        path = tmp_path / "list.tsv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return read_trials(path, root)

    return read


def test_a_table_names_each_file_once_and_keeps_its_further_columns(read, root):
    trials = read(TABLE)
    assert trials.name == "list.tsv"
    assert trials.names == ("a/1.wav", "a/2.wav", "b/1.wav")
    assert trials.paths() == [root / "a/1.wav", root / "a/2.wav", root / "b/1.wav"]
    assert trials.same.tolist() == [True, False]
    assert (trials.enrol.tolist(), trials.test.tolist()) == ([0, 0], [1, 2])
    assert trials.columns == {"gender": ("m", "mf")}


@pytest.mark.parametrize(
    "text",
    [
        "test\tlabel\tenrol\na/2.wav\ttarget\ta/1.wav\nb/1.wav\tnontarget\ta/1.wav\n",
        "\ufeffenrol\ttest\tlabel\r\na/1.wav\ta/2.wav\t1\r\n\r\na/1.wav\tb/1.wav\t0",
        "1 a/1.wav a/2.wav\n0 a/1.wav b/1.wav\n",
    ],
    ids=["columns in any order", "byte order mark, CRLF, blank lines", "VoxCeleb lines"],
)
def test_other_ways_to_write_the_same_list(read, text):
    trials = read(text)
    assert trials.names == ("a/1.wav", "a/2.wav", "b/1.wav")
    assert trials.same.tolist() == [True, False]
    assert (trials.enrol.tolist(), trials.test.tolist()) == ([0, 0], [1, 2])


def test_a_path_of_a_table_may_hold_blanks(read):
    assert "b/two words.wav" in read(TABLE + "1\tb/1.wav\tb/two words.wav\tf\n").names


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2\ta/1.wav\ta/2.wav\tm", r"line 4: expected label 1 \(same speaker\) or 0"),
        ("\ta/1.wav\ta/2.wav\tm", "line 4: expected label"),
        (
            "1\ta/1.wav\ta/2.wav",
            r"line 4: expected 4 columns \(label, enrol, test, gender\), got 3",
        ),
        ("1\ta/1.wav\ta/9.wav\tm", r"line 4: no such file below .*: a/9\.wav"),
        ("1\ta/1.wav\ta\tm", "line 4: no such file"),
        ("1\ta/1.wav\t\tm", "line 4: expected a path, got ''"),
        ("1\ta/1.wav\ta\0.wav\tm", "line 4: expected a path"),
        ("1\ta/1.wav\t" + "x" * 300 + ".wav\tm", "line 4: "),
        ("1\ta/1.wav\ta/1.wav\tm", "line 4: a recording against itself"),
        ("1\ta/1.wav\t../list.tsv\tm", "line 4: .* is not below the root"),
        ("1\ta/1.wav\t/etc/hostname\tm", "line 4: .* is not below the root"),
        ("1\ta/1.wav\tout/list.tsv\tm", "line 4: .* is not below the root"),
    ],
)
def test_a_bad_row_is_named_by_its_line(read, root, row, message):
    (root / "out").symlink_to(root.parent)
    with pytest.raises(UsageError, match=message):
        read(TABLE + row + "\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("label\tenrol\ttest\n", "a header and no trial"),
        ("1 a/1.wav a/2.wav\n", r"no nontarget \(label 0\) trial"),
        ("0 a/1.wav b/1.wav\n", r"no target \(label 1\) trial"),
    ],
)
def test_a_list_without_trials_of_both_kinds_is_refused(read, text, message):
    with pytest.raises(EmptyTrials, match=message):
        read(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\tenrol\n", r"the header lacks test; it names label, enrol"),
        ("a/1.wav,a/2.wav,1\n", "the header lacks label, enrol, test"),
        ("label\tenrol\ttest\ttest\n", "a column is named twice"),
        ("1 a/1.wav a/2.wav\n0 a/1.wav b/two words.wav\n", "line 2: expected 3 columns"),
        (b"label\tenrol\ttest\n1\t\xff\xfe\n", "no UTF-8 text"),
    ],
)
def test_what_is_no_trial_list_is_refused(read, text, message):
    with pytest.raises(UsageError, match=message):
        read(text)


def test_a_missing_list_or_root_is_named(tmp_path, root):
    with pytest.raises(UsageError, match=r"cannot read the trial list .*none\.tsv"):
        read_trials(tmp_path / "none.tsv", root)
    with pytest.raises(UsageError, match="the root of the trial list is no folder"):
        read_trials(tmp_path / "none.tsv", root / "none")


def test_a_folder_in_place_of_the_list_is_named(tmp_path, root):
    with pytest.raises(UsageError, match=r"cannot read the trial list .*Is a directory"):
        read_trials(tmp_path, root)


@given(st.binary(max_size=200))
def test_any_bytes_give_trials_or_a_clear_error(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "any.tsv"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        read_trials(path, folder)


def test_the_folder_of_a_file_is_its_speaker(read):
    assert read(TABLE).speaker.tolist() == [0, 0, 1]


def test_where_folders_are_no_speakers_target_trials_join_files(read, root):
    for n in range(5):
        (root / f"{n}.wav").touch()
    trials = read("1 3.wav 1.wav\n1 0.wav 3.wav\n0 1.wav 2.wav\n1 4.wav 2.wav\n")
    speaker = dict(zip(trials.names, trials.speaker, strict=True))
    assert speaker["0.wav"] == speaker["1.wav"] == speaker["3.wav"]
    assert speaker["2.wav"] == speaker["4.wav"] != speaker["0.wav"]


def test_labels_that_contradict_each_other_are_refused(read):
    text = "1 a/1.wav a/2.wav\n1 a/2.wav b/1.wav\n\n0 a/1.wav b/1.wav\n"
    with pytest.raises(UsageError, match="line 4: different speakers by its label, but other"):
        read(text)
