"""The preview page, parsed as a browser would: what is on it, where on the time axis, and what must never be."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from fractions import Fraction
from pathlib import Path

import av
import matplotlib.image
import numpy as np
import pytest

from avprep.build.run import build_shards
from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.manifest.read_write import Clip, write_manifest
from avprep.media.audio import Wanted, read_audio
from avprep.media.logmel import band_centres_hz, log_mel
from avprep.media.playback import RATE_HZ, encode_mp3
from avprep.media.render import render_mp4
from avprep.media.with_pyav import open_sound
from avprep.preview.axes import hertz_ticks, nice_ticks
from avprep.preview.content import (
    NO_ROOT,
    TOO_MUCH,
    choose_rows,
    sound_of,
    spectrogram_columns,
    strip_frames,
    write_preview,
)
from avprep.shared import html
from tests.pages import Element, Page, data_of
from tests.test_cli import error_of, run
from tests.train.forge import Forged, forge_dataset

EVIL = 'A rabbit, "it\'s" <script>alert(1)</script> & <b>bold</b>'
FOREIGN = "Größe: пример 音"
EVIL_ID = 'odd "id" <img src=x onerror=alert(2)>'


class PreviewPage(Page):
    """A page with a card a clip."""

    def cards(self) -> dict[str, Element]:
        return {card.all("bdi")[0].text: card for card in self.all("figure", "clip")}


def pixels_of(element: Element) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(data_of(element)), format="webp").astype(int)


def samples_of(element: Element) -> np.ndarray:
    with av.open(io.BytesIO(data_of(element))) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def seconds_at(image: Element, share: float, clip_seconds: float) -> float:
    """Clip time at a share (0 left, 1 right) of the image's width, by where its style puts it."""
    left, width = (
        float(re.search(rf"{name}: (-?[\d.]+)%", image.attributes["style"])[1]) for name in ("left", "width")
    )
    return clip_seconds * (left + share * width) / 100


@pytest.fixture(scope="module")
def mixed(videos, tmp_path_factory) -> Path:
    """A dataset of two labels that hurt, a span of a file, and four failures; sources lie in `videos`."""
    folder = tmp_path_factory.mktemp("mixed")
    clips = [
        Clip("whole", EVIL, video_path="bbb_h264_aac.mp4"),
        Clip("part", EVIL, video_path="bbb_vfr.mkv", start_seconds=0.5, end_seconds=1.5),
        Clip(EVIL_ID, FOREIGN, "test", video_path="bbb_mpeg1_mp2.mpg"),
        Clip("empty", FOREIGN, video_path="empty.mp4"),
        Clip("cut", FOREIGN, video_path="bbb_truncated.mp4"),
        Clip("gone <i>", EVIL, video_path="no/<u>such</u>.mp4"),
        Clip("silent", EVIL, video_path="bbb_noaudio.mp4"),
    ]
    write_manifest(folder / "clips.csv", clips)
    config = BuildConfig(video=VideoSpec(frame_size=32))
    build_shards(folder / "clips.csv", folder / "data", config, Limits(), root=videos, workers=2)
    return folder / "data"


@pytest.fixture(scope="module")
def mixed_page(mixed, videos) -> Page:
    write_preview(mixed, mixed.parent / "page.html", root=videos)
    return PreviewPage(mixed.parent / "page.html")


@pytest.fixture(scope="module")
def forged(tmp_path_factory) -> Path:
    """Seventy classes; class 00 has six clips, every tenth class no test clip, one clip lasts 20 s."""
    clips = [Forged("class 00", split="train", seconds=1) for _ in range(5)]
    clips += [
        Forged(f"class {n:02d}", split="test" if n % 10 else "train", seconds=20 if n == 7 else 0.3) for n in range(70)
    ]
    return forge_dataset(tmp_path_factory.mktemp("forged"), clips)


def test_every_chosen_clip_is_there_under_its_class_with_length_and_split(mixed_page):
    classes = {part.all("h3")[0].text: part for part in mixed_page.all("details", "class")}
    assert set(classes) == {EVIL, FOREIGN}
    for label, ids in ((EVIL, {"whole", "part"}), (FOREIGN, {EVIL_ID})):
        assert {card.all("bdi")[0].text for card in classes[label].all("figure", "clip")} == ids
    facts = {clip_id: card.all("span", "facts-of-clip")[0].text for clip_id, card in mixed_page.cards().items()}
    assert facts == {"whole": "2.00 s · train", "part": "1.00 s · train", EVIL_ID: "2.00 s · test"}


def test_names_are_text_and_never_markup(mixed_page):
    assert len(mixed_page.all("script")) == 1
    assert not [e for tag in ("b", "i", "u") for e in mixed_page.all(tag) if e.text.strip()]
    assert not [e for e in mixed_page.root.inside for name in e.attributes if name.startswith("on")]
    assert all(image.attributes["src"].startswith("data:image/webp;base64,") for image in mixed_page.all("img"))


def test_nothing_is_fetched_and_no_other_script_may_run(mixed_page):
    for element in mixed_page.root.inside:
        assert element.tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "poster", "srcset", "action"):
            assert element.attributes.get(name, "#").startswith(("data:", "#"))
    assert not re.search(r"https?:|url\(|@import", mixed_page.source)
    policy = next(e.attributes["content"] for e in mixed_page.all("meta") if "http-equiv" in e.attributes)
    digest = base64.b64encode(hashlib.sha256(mixed_page.all("script")[0].text.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_links_lead_somewhere(mixed_page):
    ids = [e.attributes["id"] for e in mixed_page.root.inside if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    links = [link.attributes["href"].removeprefix("#") for link in mixed_page.all("a")]
    assert set(links) <= set(ids)
    assert {"class-0", "class-1", "dataset", "clips", "failures", "log-mel-statistics"} <= set(links)


def test_failures_are_counted_and_listed(mixed_page):
    cells = [[cell.text for cell in row.all("td")] for row in mixed_page.all("tr")]
    for reason in ("empty", "truncated", "missing", "no-audio"):
        assert [row[1] for row in cells if row[:1] == [reason] and len(row) == 3] == ["1"]
    assert ["gone <i>", "no/<u>such</u>.mp4", "missing", "no such file"] in cells
    assert "failed4" in mixed_page.all("dl", "facts")[0].text.replace("\n", "")


def test_sound_is_the_clips_own_span(mixed_page, mixed, videos):
    cards = mixed_page.cards()
    assert all(len(card.all("audio")) == 1 for card in cards.values())
    with open_sound(videos / "bbb_vfr.mkv", Limits()) as sound:
        track = read_audio(sound, RATE_HZ, Wanted(limit_seconds=60))
    heard = samples_of(cards["part"].all("audio")[0])
    assert len(heard) == RATE_HZ
    origin = min(Fraction(0), track.span.start)
    first = round((Fraction(1, 2) + origin - track.span.start) * RATE_HZ)
    shifts = np.arange(-480, 481, 24)
    match = [np.dot(heard[1000:20000], track.samples[first + 1000 + s : first + 20000 + s]) for s in shifts]
    assert abs(shifts[int(np.argmax(match))]) <= RATE_HZ / 100
    dataset = Dataset(mixed)
    window = sound_of(dataset, dataset.clip_ids.index("part"), videos, (0.25, 0.75))
    with av.open(io.BytesIO(window)) as container:
        part = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    middle, loud = slice(RATE_HZ // 8, RATE_HZ // 8 * 3), RATE_HZ // 4
    assert len(part) == RATE_HZ // 2
    assert np.corrcoef(part[middle], heard[loud:][middle])[0, 1] > 0.98
    late = samples_of(cards[EVIL_ID].all("audio")[0])  # its file's clock does not begin at 0
    assert len(late) == 2 * RATE_HZ
    assert all(np.abs(part).max() > 0.001 for part in np.split(late, 8))


def test_without_a_root_the_page_explains_why_it_is_silent(mixed, tmp_path):
    write_preview(mixed, tmp_path / "p.html")
    page = PreviewPage(tmp_path / "p.html")
    assert len(page.cards()) == 3
    assert page.all("audio") == []
    assert f"Sound is left out: {NO_ROOT}." in page.root.text


def test_a_source_that_is_gone_costs_its_own_sound_alone(mixed, videos, tmp_path):
    (tmp_path / "bbb_vfr.mkv").symlink_to(videos / "bbb_vfr.mkv")
    (tmp_path / "bbb_mpeg1_mp2.mpg").write_bytes(b"no longer a film")
    write_preview(mixed, tmp_path / "p.html", root=tmp_path)
    cards = PreviewPage(tmp_path / "p.html").cards()
    assert [len(cards[name].all("audio")) for name in ("whole", "part", EVIL_ID)] == [0, 1, 0]
    assert "No sound: source file is missing." in cards["whole"].text
    assert "No sound: not-media" in cards[EVIL_ID].text


def test_sounds_stop_at_the_budget_and_each_class_comes_first(mixed, videos, tmp_path):
    shown = write_preview(mixed, tmp_path / "all.html", root=videos)
    sizes = [len(clip.sound) for clip in shown.clips]
    assert [clip.class_id for clip in shown.clips] == [0, 0, 1]
    for budget in (sizes[0] + sizes[2], sizes[0] + sizes[2] + sizes[1] - 1):
        less = write_preview(mixed, tmp_path / "p.html", root=videos, max_sound_bytes=budget)
        assert [bool(clip.sound) for clip in less.clips] == [True, False, True]
        note = f"2 of 3 clips can be played, from their source files, as 48 kbit/s MP3; 1 without: {TOO_MUCH}."
        assert note in PreviewPage(tmp_path / "p.html").root.text


@pytest.mark.slow
def test_frames_spectrogram_and_sound_share_one_time_axis(tmp_path):
    """A flash and a beep from 2.0 to 2.5 s of 4 s: tile 4 of 8, the same seconds of the spectrogram and the sound."""
    rate, seconds = 48_000, 4
    frames = np.zeros((25 * seconds, 64, 64, 3), np.uint8)
    frames[50:62] = 255
    time = np.arange(rate * seconds) / rate
    beep = np.where((time >= 2.0) & (time < 2.5), 0.5 * np.sin(2 * np.pi * 2000 * time), 0).astype(np.float32)
    render_mp4(tmp_path / "flash.mp4", frames, Fraction(25), beep, rate)
    write_manifest(tmp_path / "clips.csv", [Clip("flash", "x", video_path="flash.mp4")])
    build_shards(tmp_path / "clips.csv", tmp_path / "data", BuildConfig(), Limits())
    write_preview(tmp_path / "data", tmp_path / "p.html", root=tmp_path)
    card = PreviewPage(tmp_path / "p.html").cards()["flash"]
    length = float(card.attributes["data-seconds"])
    strip, heat = card.all("img")
    bright = pixels_of(strip).mean((0, 2)) > 128
    lit = [seconds_at(strip, share, length) for share in np.flatnonzero(np.diff(bright)) / len(bright)]
    assert lit == pytest.approx([2.0, 2.5], abs=0.02)
    level = pixels_of(heat)[:, :, 0].max(0)
    edges = np.flatnonzero(np.diff(level > 200)) + 1
    heard = [seconds_at(heat, edge / len(level), length) for edge in (edges[0], edges[-1])]
    assert heard == pytest.approx([2.0, 2.5], abs=0.04)
    rows = pixels_of(heat)[:, :, 0].mean(1)
    labels = {label.text: label.attributes["style"] for label in card.all("div", "y")[0].all("span")}
    height = 100 * (1 - (rows.argmax() + 0.5) / len(rows))
    assert float(re.search(r"bottom: ([\d.]+)%", labels["2k"])[1]) == pytest.approx(height, abs=1)
    loud = np.flatnonzero(np.abs(samples_of(card.all("audio")[0])) > 0.1) / RATE_HZ
    assert [loud[0], loud[-1]] == pytest.approx([2.0, 2.5], abs=0.02)
    for image, first, last in ((strip, 0.0, length), (heat, -0.005, None)):
        assert seconds_at(image, 0, length) == pytest.approx(first, abs=1e-4)
        assert last is None or seconds_at(image, 1, length) == pytest.approx(last, abs=1e-4)
    assert seconds_at(heat, 1, length) >= length - 0.01
    ticks = {
        t.text: float(re.search(r"left: ([\d.]+)%", t.attributes["style"])[1])
        for t in card.all("div", "x")[0].all("span")
    }
    assert ticks["2 s"] == pytest.approx(100 * 2 / length, abs=1e-3)


@pytest.mark.slow
def test_a_dataset_of_sound_alone(sounds, tmp_path):
    names = ["elec_beep.ogg", "drum_cowbell.ogg", "bass_drop_c.ogg"]
    write_manifest(tmp_path / "clips.csv", [Clip(name, name[:4], audio_path=str(sounds / name)) for name in names])
    build_shards(tmp_path / "clips.csv", tmp_path / "data", BuildConfig(), Limits())
    write_preview(tmp_path / "data", tmp_path / "p.html")  # absolute paths need no root
    page = PreviewPage(tmp_path / "p.html")
    assert set(page.cards()) == set(names)
    for card in page.cards().values():
        assert len(card.all("img")) == len(card.all("audio")) == 1
        assert card.all("div", "strip") == []
    assert "none: sound only" in page.root.text
    assert "frames as stored" not in page.root.text


def test_many_classes_stay_usable(forged, tmp_path):
    shown = write_preview(forged, tmp_path / "p.html", split="test")
    page = PreviewPage(tmp_path / "p.html")
    parts = page.all("details", "class")
    assert len(parts) == len(shown.clips) == 63
    assert not [part for part in parts if "open" in part.attributes]
    items = page.all("ul", "overview")[0].all("li")
    assert len(items) == 70
    assert [item.attributes["data-name"] for item in items if not item.all("a")] == [f"class {n}0" for n in range(7)]
    assert " clips: 6 train" in items[0].text
    assert all(image.attributes["loading"] == "lazy" for image in page.all("img"))
    assert (tmp_path / "p.html").stat().st_size < 63 * 12_000


def test_rows_are_chosen_by_class_split_and_seed(forged):
    dataset = Dataset(forged)
    per_class = np.bincount(dataset.label[choose_rows(dataset, 4, None, 0)])
    assert per_class.tolist() == [4] + [1] * 69
    assert np.bincount(dataset.label[choose_rows(dataset, None, None, 0)]).max() == 2  # about 150 of 70 classes
    assert choose_rows(dataset, 4, None, 0) == choose_rows(dataset, 4, None, 0)
    assert len({tuple(choose_rows(dataset, 3, None, seed)) for seed in range(8)}) > 1
    assert set(choose_rows(dataset, 3, None, 5)) < set(choose_rows(dataset, 4, None, 5))
    assert {dataset.splits[n] for n in dataset.split[choose_rows(dataset, 2, "train", 0)]} == {"train"}
    with pytest.raises(UserError, match="no split 'val'"):
        choose_rows(dataset, None, "val", 0)


@pytest.mark.parametrize(("num_frames", "seconds"), [(1, 0.07), (5, 0.33), (48, 3.0), (1600, 100.03)])
def test_a_strip_shows_the_frame_on_show_in_the_middle_of_each_part(num_frames, seconds):
    chosen = strip_frames(num_frames, seconds, 16)
    tiles = min(8, num_frames)
    assert len(chosen) == tiles
    for tile, frame in enumerate(chosen):
        middle = (tile + 0.5) * seconds / tiles
        assert frame <= num_frames - 1
        assert frame / 16 <= middle
        assert middle < (frame + 1) / 16 or frame == num_frames - 1


def test_a_long_spectrogram_is_averaged_in_even_steps():
    logmel = np.repeat(np.arange(1281, dtype=np.float16)[:, None], 3, axis=1)
    columns, frames = spectrogram_columns(logmel)
    assert (frames, columns.shape) == (3, (427, 3))
    assert columns[:2, 0].tolist() == [1.0, 4.0]
    assert spectrogram_columns(logmel[:640])[1] == 1


@pytest.mark.parametrize("seconds", [0.03, 0.31, 1.28, 3.0, 7.24, 59.9, 180.0, 3000.0])
def test_ticks_are_round_few_and_where_they_belong(seconds):
    ticks = nice_ticks(seconds)
    assert 2 <= len(ticks) <= 8
    for tick in ticks:
        value = float(tick["text"].removesuffix(" s"))
        assert 0 <= value <= seconds + 1e-6
        assert float(tick["position"]) == pytest.approx(100 * value / seconds, abs=1e-3)


def test_hertz_labels_are_at_the_bands_of_these_frequencies():
    spec = AudioSpec()
    centres = band_centres_hz(spec.sample_rate_hz, spec.num_mel_bands)
    time = np.arange(spec.sample_rate_hz) / spec.sample_rate_hz
    for place, text in hertz_ticks(centres):
        hertz = float(text.replace("k", "e3"))
        loudest = int(log_mel(np.sin(2 * np.pi * hertz * time).astype(np.float32), spec)[50].argmax())
        assert abs(float(place) / 100 * spec.num_mel_bands - (loudest + 0.5)) <= 0.75, text


def test_sound_keeps_its_time_and_is_turned_down_rather_than_clipped():
    samples = np.zeros(2 * RATE_HZ, np.float32)
    samples[RATE_HZ : RATE_HZ + 2400] = 3 * np.sin(np.arange(2400) * 0.3)
    with av.open(io.BytesIO(encode_mp3(samples))) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(heard) == len(samples)
    loud = np.flatnonzero(np.abs(heard) > 0.3)
    assert [loud[0], loud[-1]] == pytest.approx([RATE_HZ, RATE_HZ + 2400], abs=50)
    assert 0.9 < np.abs(heard).max() < 1.1


def test_a_page_without_a_script_allows_none():
    assert "script-src 'none'" in html.page("t", "l", [("h", html.paragraph("<x>"))]).replace("&#39;", "'")


@pytest.mark.slow
def test_the_command(mixed, videos, tmp_path):
    done = run("avprep", "preview", mixed, "--out", tmp_path / "p.html", "--root", videos, "--per-class", "1")
    assert done.returncode == 0, done.stderr
    assert "2 clips, 2 with sound" in done.stdout
    assert "no split 'val'" in error_of(run("avprep", "preview", mixed, "--out", tmp_path / "q.html", "--split", "val"))
    assert not (tmp_path / "q.html").exists()
