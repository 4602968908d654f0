"""What a configuration may say, and what is refused before anything is begun."""

from __future__ import annotations

import pytest

from voxprint.errors import UsageError
from voxprint.training.config import SHIPPABLE, Config, Train
from voxprint.training.reading import read_config, shipped_config, with_overrides


def written(folder, text):
    file = folder / "some.toml"
    file.write_text(text)
    return file


def test_a_file_names_only_what_differs(tmp_path):
    file = written(tmp_path, '[train]\nsteps = 7\n[data]\nspeeds = [1, 0.9]\nfold = "A"\n')
    config = read_config(file)
    assert config.train == Train(steps=7)
    assert config.data.speeds == (1.0, 0.9)
    assert config.data.fold == "A"
    assert config.loss == Config().loss


@pytest.mark.parametrize("name", ["distil-small", "distil-gpu", "scratch-small", "scratch-gpu"])
def test_the_shipped_configurations_are_read(name):
    config = read_config(shipped_config(name))
    assert set(config.data.sets) == set(SHIPPABLE)
    assert config.train.max_seconds > 0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[data]\nsteps = 3\n", ["'steps'", "most_files", "speeds", "workers"]),
        ("[training]\nsteps = 3\n", ["'training'", "data", "batch", "augment", "loss", "train"]),
    ],
)
def test_an_unknown_key_is_refused_and_the_known_ones_are_named(tmp_path, text, named):
    with pytest.raises(UsageError) as raised:
        read_config(written(tmp_path, text))
    assert all(word in str(raised.value) for word in [*named, "some.toml"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[train]\nsteps = "many"\n', "steps: expected int, got 'many'"),
        ("[train]\nsteps = 1.5\n", "steps: expected int, got 1.5"),
        ("[train]\nhalf = 1\n", "half: expected bool, got 1"),
        ("[train]\nrate = true\n", "rate: expected float, got True"),
        ("[data]\nspeeds = 1.0\n", "speeds: expected a list, got 1.0"),
        ('[data]\nspeeds = [1.0, "fast"]\n', "speeds: expected float, got 'fast'"),
        ("data = 3\n", "expected a section [data], got 3"),
    ],
)
def test_a_value_of_another_kind_is_refused(tmp_path, text, expected):
    with pytest.raises(UsageError) as raised:
        read_config(written(tmp_path, text))
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ('data.fold="C"', "A, B, both"),
        ('data.noises="some"', "train, all"),
        ("data.workers=0", "1 or more"),
        ("data.speeds=[0.9, 1.0]", "1.0 first"),
        ("data.speeds=[1.0, 4.0]", "from 0.5 to 2.0"),
        ("batch.most=1", "2 or more"),
        ("batch.short=[]", "at least one length"),
        ("batch.clean_share=1.5", "a share from 0 to 1"),
        ("augment.noise=-0.1", "a share from 0 to 1"),
        ("augment.snr=[20, 0]", "lowest and highest"),
        ('network.kind="resnet"', "campplus, ecapa"),
        ('network.begin="anywhere"', "teacher or nothing"),
        ('network.kind="ecapa"', "of another kind than the teacher's nothing"),
        ("network.moments=4", "2 for campplus"),
        ('network.begin="nothing"', "[1.0] where"),
        ("batch.late=[0.0]", "at least one length"),
        ("train.late_share=0.2", "train.late_share"),
        ("loss.margin=2.0", "below pi / 2"),
        ("loss.margin_from=0.5", "not before loss.margin_from, 0.5"),
        ("loss.margin_whole=1.5", "a share from 0 to 1"),
        ('loss.head="arcface"', "am_softmax, aam_softmax"),
        ("train.average=1.0", "below 1"),
        ("train.warm_up=1.0", "below 1"),
        ('train.device="tpu"', "auto, cpu, cuda"),
        ('measure.conditions=["1s"]', "full among them"),
        ('measure.conditions=["full", "rain"]', "'rain'"),
        ("train.steps=ten", "section.key=value"),
        ("train.steps", "section.key=value"),
        ("train.pace=1", "'pace'"),
        ("steps=3", "'steps'"),
    ],
)
def test_a_setting_out_of_range_is_refused_before_anything_is_begun(assignment, named):
    with pytest.raises(UsageError) as raised:
        with_overrides(Config(), [assignment])
    assert named in str(raised.value)
    assert assignment in str(raised.value)


def test_something_is_asked_of_every_student():
    nothing = ["loss.cosine=0.0", "loss.contrastive=0.0"]
    for more in ([], ['loss.head="softmax"', "loss.head_weight=0"]):
        with pytest.raises(UsageError, match="a head with a weight"):
            with_overrides(Config(), [*nothing, *more])
    assert not with_overrides(Config(), [*nothing, 'loss.head="softmax"']).loss.asks_teacher


def test_what_begins_from_nothing_is_no_part_of_its_teacher():
    nothing = ['network.begin="nothing"', "measure.blends=[1.0]"]
    assert with_overrides(Config(), nothing).train.blend == 1.0
    with pytest.raises(UsageError, match=r"1\.0 where the network does not begin"):
        with_overrides(Config(), [*nothing, "train.blend=0.5"])


def test_settings_that_depend_on_each_other_may_be_given_in_any_order():
    both = ['network.kind="ecapa"', 'network.begin="nothing"', "measure.blends=[1.0]"]
    assert with_overrides(Config(), both) == with_overrides(Config(), both[::-1])


def test_a_later_setting_goes_before_an_earlier_one():
    config = with_overrides(Config(), ["train.steps=3", 'data.sets=["a"]', "train.steps=4"])
    assert (config.train.steps, config.data.sets) == (4, ("a",))


def test_what_is_no_configuration_says_so(tmp_path):
    for file in (tmp_path / "absent.toml", written(tmp_path, "steps = = 3")):
        with pytest.raises(UsageError, match=file.name):
            read_config(file)
    with pytest.raises(UsageError, match="distil-gpu, distil-small"):
        shipped_config("distil-huge")
