"""croissant.json: the dataset in the metadata format Croissant 1.1 of MLCommons, which other tools read and search.

Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from avprep import schema
from avprep.shared.cards import UNKNOWN, license_url
from avprep.sharing.config import CardConfig
from avprep.sharing.facts import Facts
from avprep.sharing.front_matter import tasks_of

VERSION = "http://mlcommons.org/croissant/1.1"
TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
    "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source",
    "subField", "transform",
)  # fmt: skip
"""the words of the standard context that mean themselves"""
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    **{term: f"cr:{term}" for term in TERMS},
}
COLUMNS = {
    "clip_id": "name of the clip in the manifest",
    "key": "name of the clip's members in its tar",
    "split": "split of the clip",
    "label": "class id",
    "shard": "tar that holds the clip",
    "frames_offset": "where the frames begin in the tar, in bytes; -1 without pictures",
    "frames_bytes": "bytes of the frames",
    "num_frames": "frames of the clip",
    "sizes_position": "of JPEG frames: first entry in the sizes beside the tar; else -1",
    "logmel_offset": "where the values of the log-mel begin in the tar, in bytes",
    "num_mel_frames": "log-mel frames of the clip",
    "duration_seconds": "length of the clip",
    "av_offset_seconds": "how much later the sound began than the picture in the source, before both were cut",
}
"""what each column of the index is"""


def croissant(facts: Facts, config: CardConfig, title: str, description: str, dataset_sha256: str) -> dict[str, Any]:
    """The metadata as JSON values. `dataset_sha256` is of dataset.json."""
    given = {
        "creator": {"@type": "sc:Organization", "name": config.creator} if config.creator else "",
        "url": config.url,
        "datePublished": config.date,
        "version": config.version,
        "citeAs": config.citation.strip(),
    }
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": title,
        "description": description,
        "license": license_url(config.license) or UNKNOWN,
        "keywords": ["webdataset", *tasks_of(facts, config)],
        "isLiveDataset": False,
        **{name: value for name, value in given.items() if value},
        "distribution": _distribution(facts, dataset_sha256),
        "recordSet": [_splits(facts), _classes(facts), _clips()],
    }


def _distribution(facts: Facts, dataset_sha256: str) -> list[dict[str, Any]]:
    files = [
        (schema.INDEX, "application/x-parquet", facts.info["index_sha256"], "one row a clip"),
        (schema.DATASET, "application/json", dataset_sha256, "class names, settings, statistics, sha256 of each shard"),
    ]
    objects = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "description": text,
            "contentUrl": name,
            "encodingFormat": kind,
            "sha256": digest,
        }
        for name, kind, digest, text in files
    ]
    sets = [
        {
            "@type": "cr:FileSet",
            "@id": f"shards-{split}",
            "name": f"shards-{split}",
            "description": f"Shards of split {split} as WebDataset: frames, log-mel and a description of each clip.",
            "encodingFormat": "application/x-tar",
            "includes": f"shards/{split}/*/*.tar",
        }
        for split in facts.splits
    ]
    return [*objects, *sets]


def _splits(facts: Facts) -> dict[str, Any]:
    """The splits as the specification has them: each row a name and its meaning in Croissant's own terms."""
    meanings = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "The splits of the dataset.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            _field("splits/name", "sc:Text", "name of the split"),
            _field("splits/url", "sc:URL", "its meaning, where it has one of the usual names"),
        ],
        "data": [{"splits/name": name, "splits/url": meanings.get(name, "cr:Split")} for name in facts.splits],
    }


def _classes(facts: Facts) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "description": "The classes of the manifest's own labels.",
        "key": {"@id": "classes/label"},
        "field": [
            _field("classes/label", "sc:Integer", "class id"),
            _field("classes/name", "sc:Text", "name of the class"),
        ],
        "data": [{"classes/label": label, "classes/name": name} for label, name in enumerate(facts.classes)],
    }


def _clips() -> dict[str, Any]:
    refers = {"split": "splits/name", "label": "classes/label"}
    fields = []
    for column in schema.INDEX_SCHEMA:
        field = _field(f"clips/{column.name}", _type_of(column.type), COLUMNS[column.name])
        field["source"] = {"fileObject": {"@id": schema.INDEX}, "extract": {"column": column.name}}
        if column.name in refers:
            field["references"] = {"field": {"@id": refers[column.name]}}
        fields.append(field)
    return {
        "@type": "cr:RecordSet",
        "@id": "clips",
        "name": "clips",
        "description": "The clips: label, split, and the position of their arrays in the shards.",
        "key": {"@id": "clips/clip_id"},
        "field": fields,
    }


def _field(name: str, kind: str, description: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": name, "name": name, "description": description, "dataType": kind}


def _type_of(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
