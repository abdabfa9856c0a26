"""The GRID corpus of audio-visual sentences: which clips a folder has, whose they are, and which words they speak.

A clip is named after its sentence of six words, each by one character: `bbaf2n` is "bin blue at f two now". Speakers
have folders s1 to s34; a folder without such folders is of one speaker. Align files NAME.align, of the same speaker,
have the time of each word. Source: Cooke, Barker, Cunningham and Shao, J. Acoust. Soc. Am. 120 (2006) 2421.
"""

from __future__ import annotations

import posixpath
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from avprep.datasets.folder import VIDEO_SUFFIXES
from avprep.datasets.media_folder import LocalFolder
from avprep.errors import ManifestError
from avprep.shared.errors import some_of

WORDS: Mapping[str, Mapping[str, str]] = {
    "command": {word[0]: word for word in ("bin", "lay", "place", "set")},
    "colour": {word[0]: word for word in ("blue", "green", "red", "white")},
    "preposition": {word[0]: word for word in ("at", "by", "in", "with")},
    "letter": {letter: letter for letter in string.ascii_lowercase if letter != "w"},
    "digit": {
        "z": "zero",
        **dict(zip("123456789", "one two three four five six seven eight nine".split(), strict=True)),  # noqa: SIM905
    },
    "adverb": {word[0]: word for word in ("again", "now", "please", "soon")},
}
"""the six words of a sentence, in order: character of the name -> word"""
SPEAKER = re.compile(r"s[1-9]\d?")
ALIGN = ".align"
ALIGN_HZ = 25_000  # the unit of the times in align files
PAUSES = ("sil", "sp")


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One clip of the corpus."""

    name: str
    speaker: str
    """such as s1; '' where the folder has no folders of speakers"""
    path: str
    """of the video, from the folder"""
    align: str
    """path of its align file; '' where there is none"""

    @property
    def words(self) -> dict[str, str]:
        """What each of WORDS is."""
        return {word: names[letter] for letter, (word, names) in zip(self.name, WORDS.items(), strict=True)}


def sentences_below(root: Path) -> list[Sentence]:
    """The clips below `root`, by speaker and name.

    Errors: ManifestError where there are none, a name is not of the corpus's form, a clip is there twice, or only some
    clips are in folders of speakers.
    """
    media = LocalFolder(root, root)
    videos: dict[tuple[str, str], str] = {}
    aligned: dict[tuple[str, str], str] = {}
    wrong = []
    for path in media.files():
        stem, suffix = posixpath.splitext(posixpath.basename(path))
        key = _speaker(root, path), stem
        if suffix.lower() == ALIGN:
            aligned[key] = path
        elif suffix.lower() in VIDEO_SUFFIXES and not stem.startswith("."):
            if not _is_name(stem):
                wrong.append(path)
            elif key in videos:
                raise ManifestError(
                    f"{root} has the clip {stem}{f' of {key[0]}' if key[0] else ''} twice, {videos[key]} and {path}; "
                    "give a folder with one video of each, of several speakers in folders s1, s2 and so on."
                )
            else:
                videos[key] = path
    if wrong:
        raise ManifestError(
            f"{len(wrong)} videos below {root} have no name of the GRID corpus, six characters for command, colour, "
            f"preposition, letter, digit and adverb such as bbaf2n: {some_of(wrong)}; rename them or take them out."
        )
    if not videos:
        raise ManifestError(f"{root} has no videos; give the folder of the GRID corpus, files such as s1/bbaf2n.mpg.")
    speakers = {speaker for speaker, _ in videos}
    if len(speakers) > 1 and "" in speakers:
        stray = next(path for (speaker, _), path in videos.items() if not speaker)
        raise ManifestError(f"{stray} below {root} is in no folder of a speaker, s1 to s34, as others are; move it.")
    return [
        Sentence(name=name, speaker=speaker, path=videos[speaker, name], align=aligned.get((speaker, name), ""))
        for speaker, name in sorted(videos, key=lambda key: (int(key[0][1:] or 0), key[1]))
    ]


def _speaker(root: Path, path: str) -> str:
    """The folder nearest to the file that is named as a speaker is, `root` too; '' without one."""
    folders = [root.resolve().name, *posixpath.dirname(path).split("/")]
    return next((folder for folder in reversed(folders) if SPEAKER.fullmatch(folder)), "")


def _is_name(stem: str) -> bool:
    return len(stem) == len(WORDS) and all(letter in names for letter, names in zip(stem, WORDS.values(), strict=True))


def word_times(root: Path, sentence: Sentence, word: str) -> tuple[float, float, float]:
    """(start, end of one of WORDS, end of the sentence) in seconds, by its align file.

    Errors: ManifestError where the file has not the words of the clip's name.
    """
    path = root / sentence.align
    try:
        with path.open(encoding="utf-8") as lines:
            rows = [line.split() for line in lines if line.strip()]
        times = [(int(start) / ALIGN_HZ, int(end) / ALIGN_HZ, spoken) for start, end, spoken in rows]
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} is not readable as lines of start, end and word ({error}).") from None
    spoken = [row for row in times if row[2] not in PAUSES]
    if [row[2] for row in spoken] != list(sentence.words.values()):
        raise ManifestError(f"{path} has not the words of {sentence.name}; correct it, or take whole clips.")
    start, end, _ = spoken[list(WORDS).index(word)]
    return start, end, times[-1][1]
