"""``benchmarks.training.denoising`` from a folder of recordings to a table."""

from __future__ import annotations

import json

import pytest
from made import write_corpora

from benchmarks.training.denoising import CONDITIONS, main
from voxprint.encoder.spec import DENOISERS


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return write_corpora(tmp_path_factory.mktemp("corpora"), people=range(1, 7), takes=2)


def test_every_front_end_is_measured_once_and_kept(corpora, tmp_path, capsys):
    out = tmp_path / "figures.json"
    given = ["--corpora", str(corpora), "--work", str(tmp_path / "work"), "--lists", "pairs"]
    given += ["--replicates", "20", "--out", str(out)]
    main(given)
    told = capsys.readouterr()
    assert "6 of 6 recordings embedded" in told.err
    assert f"| list | probe | none | {' | '.join(sorted(DENOISERS, reverse=True))} |" in told.out
    figures = json.loads(out.read_text())
    rows = [each for each in figures["rows"] if each["list"] == "pairs"]
    assert [each["condition"] for each in rows] == list(CONDITIONS)
    assert all((each["targets"], each["nontargets"]) == (3, 12) for each in rows)
    assert all(set(each["systems"]) > set(DENOISERS) for each in rows)
    main(given)
    again = capsys.readouterr()
    assert again.out == told.out
    assert "embedded" not in again.err


def test_a_list_that_is_not_there(corpora, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--corpora", str(corpora), "--work", str(tmp_path), "--lists", "none"])
    assert ended.value.code == 1
    assert "none.tsv" in capsys.readouterr().err
